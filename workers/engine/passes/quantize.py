"""Fewer bits: integer computing, weights in blocks, float16 or bfloat16."""

from collections.abc import Sequence
from typing import assert_never

from whetstone.contract.datasets import Split
from whetstone.contract.quantization import Activations, Precision, Quantize
from whetstone.contract.reports import Curve
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError
from workers.engine.graph.edit import drop_unread, name_nodes, store_constants_as_initializers, store_weights_directly
from workers.engine.graph.graph import Graph, name_of
from workers.engine.graph.layers import Layer, layers_of
from workers.engine.graph.reasons import reason_of
from workers.engine.passes.agreement import agrees_at_every_batch
from workers.engine.passes.calibration import Calibration
from workers.engine.passes.corrections import Build, Corrected, even_out_channels, smooth_activations
from workers.engine.passes.errors import BrokenResult, NeedsDataset, NothingToDo
from workers.engine.passes.graph_pass import Context, GraphPass, Outcome
from workers.engine.passes.halving import brain_floats, half_floats
from workers.engine.passes.integer import INTEGER_OPS, change_of, learned_integers, quantizable, why_kept
from workers.engine.passes.moments import Floats, Linear
from workers.engine.passes.names import chosen_names, excluded_weights
from workers.engine.passes.partial import Found, Judge, search
from workers.engine.passes.prepared import Prepared
from workers.engine.passes.quantizer import activation_type, quantize_dynamic, quantize_static
from workers.engine.passes.ranges import infinite, with_shapes
from workers.engine.passes.rounding import Learned
from workers.engine.passes.smooth import read_unrounded
from workers.engine.passes.stored import inner_layers, stored
from workers.engine.passes.weight_only import OPS as BLOCK_OPS
from workers.engine.passes.weight_only import learned_blocks, store_in_blocks, why_not

NO_LIMIT = "Partial quantization could not keep its limit of {limit:g} points: {drop:.2f} are lost. Nearest miss kept."
EXCLUDED = "it is excluded"


class QuantizePass(GraphPass[Quantize]):
    """Dispatches on what weights are stored in and when activations find their range."""

    def _excluded(self, graph: Graph) -> tuple[str, ...]:
        return chosen_names(graph, self.config.exclude, self.config.exclude_ops, self.config.exclude_patterns)

    def _kept(self, graph: Graph) -> frozenset[str]:
        return excluded_weights(graph, self._excluded(graph))

    def _candidates(self, graph: Graph) -> list[Layer]:
        kept = self._kept(graph)
        layers = [layer for layer in layers_of(graph) if layer.weight not in kept]
        layers = [layer for layer in layers if graph.dtype(layer.weight) == "float32"]
        if self.config.precision in (Precision.FP16, Precision.BF16):
            return layers
        ops = quantizable(self.config) if self.config.in_integers else frozenset(BLOCK_OPS)
        return [layer for layer in layers if layer.op in ops]

    def _and_why(self, graph: Graph) -> str:
        """Why the first layer there is stays as it is."""
        for layer in layers_of(graph):
            if layer.weight in self._kept(graph):
                return f": '{layer.name}' is excluded"
            in_blocks = why_not(graph, layer) if self.config.in_blocks else None
            return (
                f": '{layer.name}' stays, since {in_blocks or why_kept(layer, graph.dtype(layer.weight), self.config)}"
            )
        return "".join(f": '{change.name}' stays, since {change.kept_because}" for change in inner_layers(graph)[:1])

    def requires(self, graph: Graph, data: Samples | None) -> None:
        self._excluded(graph)
        if any(node.op_type in INTEGER_OPS for node in graph.nodes):
            raise NothingToDo("The model is quantized already.")
        if not self._candidates(graph):
            raise NothingToDo(f"There is no float32 weight left to quantize{self._and_why(graph)}.")
        if self.config.needs_data and (data is None or not data.has(Split.CALIBRATION)):
            raise NeedsDataset(
                "These settings of quantize need calibration samples.",
                hint="Add a dataset with a calibration or train split, or set activations to 'dynamic'.",
            )

    def run(self, graph: Graph, data: Samples | None, context: Context) -> Outcome:
        prepared = self._prepared(graph, data, context)
        try:
            if self.config.equalize:
                even_out_channels(prepared)
            smooth_activations(prepared, self.config)
            outcome = self._dispatch(graph, prepared)
        except EngineError:
            raise
        except Exception as error:  # the libraries raise whatever they stumble over
            raise BrokenResult(f"The quantizer fails on this model: {reason_of(error)}") from error
        agrees_at_every_batch(graph, outcome.graph, data, context.scratch)
        layers = (*prepared.changes, *outcome.layers)
        return Outcome(outcome.graph, outcome.summary, layers, outcome.curves, (*prepared.notes, *outcome.notes))

    def _prepared(self, graph: Graph, data: Samples | None, context: Context) -> Prepared:
        ready = graph.copy()
        name_nodes(ready)
        store_constants_as_initializers(ready)
        store_weights_directly(ready)
        has = data is not None and data.has(Split.CALIBRATION)
        calibration = Calibration.of(self.config, data, context, graph) if data is not None and has else None
        prepared = Prepared(ready, dict.fromkeys(self._excluded_nodes(graph), EXCLUDED), calibration, context)
        if self.config.needs_data:
            prepared.notes += [*prepared.samples.check(), *prepared.samples.notes()]
        return prepared

    def _excluded_nodes(self, graph: Graph) -> list[str]:
        """Nodes excluded themselves, and those whose weight is; told on the graph as it came, since a weight may have
        another name in what is made ready.
        """
        names = self._excluded(graph)
        weights = excluded_weights(graph, names)
        by_weight = {layer.name for layer in layers_of(graph) if layer.weight in weights}
        return [name_of(node) for node in graph.nodes if name_of(node) in {*names, *by_weight}]

    def _dispatch(self, graph: Graph, prepared: Prepared) -> Outcome:
        match self.config.precision:
            case Precision.FP16:
                return half_floats(prepared)
            case Precision.BF16:
                return brain_floats(prepared)
            case Precision.INT4:
                return self._blocks(prepared, bits=4)
            case Precision.INT8:
                return self._eight_bits(graph, prepared)
            case _:
                assert_never(self.config.precision)

    def _eight_bits(self, graph: Graph, prepared: Prepared) -> Outcome:
        match self.config.activations:
            case Activations.NONE:
                return self._blocks(prepared, bits=8)
            case Activations.DYNAMIC:
                return self._dynamic(prepared)
            case Activations.STATIC | None:
                return self._static(graph, prepared)
            case _:
                assert_never(self.config.activations)

    def _dynamic(self, prepared: Prepared) -> Outcome:
        scratch, per_channel = prepared.context.scratch, self.config.per_channel

        def build(graph: Graph, kept: Sequence[str], _only: Sequence[str]) -> Graph:
            exclude = [*prepared.reasons, *kept]
            made = quantize_dynamic(with_shapes(graph), per_channel=per_channel, exclude=exclude, scratch=scratch)
            return Graph(made, upgraded_from=graph.upgraded_from)

        corrected = self._corrected(prepared, build)
        return self._integer(prepared, corrected, corrected(), "dynamic uint8")

    def _static(self, graph: Graph, prepared: Prepared) -> Outcome:
        ranges = prepared.samples.ranges(prepared.graph)
        self._keep_infinite(prepared, infinite(with_shapes(prepared.graph), ranges))

        def build(ready: Graph, kept: Sequence[str], only: Sequence[str]) -> Graph:
            exclude, scratch = [*prepared.reasons, *kept], prepared.context.scratch
            model = with_shapes(ready)
            made = quantize_static(model, ranges, self.config, exclude=exclude, only=only, scratch=scratch)
            after = Graph(made, upgraded_from=ready.upgraded_from)
            read_unrounded(ready, after, prepared.muls)
            return after

        corrected = self._corrected(prepared, build)
        kind = f"static {activation_type(self.config)}"
        if self.config.partial is None:
            return self._integer(prepared, corrected, corrected(), kind)
        found = self._partial(graph, prepared, corrected)
        return self._integer(prepared, corrected, found.graph, kind, found)

    @staticmethod
    def _keep_infinite(prepared: Prepared, tensors: frozenset[str]) -> None:
        for node in prepared.graph.nodes:
            touched = tensors.intersection([*node.input, *node.output])
            if touched:
                reason = f"'{min(touched)}' becomes infinite on calibration samples"
                prepared.reasons.setdefault(name_of(node), reason)

    def _corrected(self, prepared: Prepared, build: Build) -> Corrected:
        def relearn(form: Linear, moments: Floats, after: Graph) -> Learned | None:
            return learned_integers(form, moments, prepared.graph, after)

        return Corrected(prepared, self.config, build, relearn)

    def _partial(self, graph: Graph, prepared: Prepared, corrected: Corrected) -> Found:
        config, context, calibration = self.config.partial, prepared.context, prepared.samples
        if config is None:
            raise NothingToDo
        samples, names = calibration.samples, list(dict.fromkeys(layer.name for layer in self._free(prepared)))
        largest = float(samples.labels(Split.CALIBRATION).max()) if samples.has_labels(Split.CALIBRATION) else 0.0
        judge = Judge(graph, lambda: calibration.batches(labels=True), largest, context.scratch, context.threads)

        def say(share: float, what: str) -> None:
            context.tell(0.4 + 0.6 * share, what, {})

        return search(names, config, judge, corrected, lambda name: corrected(only=(name,)), say)

    def _free(self, prepared: Prepared) -> list[Layer]:
        """The layers that can be quantized and are not kept in float."""
        return [layer for layer in self._candidates(prepared.graph) if layer.name not in prepared.reasons]

    def _integer(
        self, prepared: Prepared, corrected: Corrected, after: Graph, kind: str, found: Found | None = None
    ) -> Outcome:
        """What was really quantized, layer by layer. Raises NothingToDo if nothing was."""
        reasons = dict(prepared.reasons)
        if found is not None:
            reasons |= {name: f"alone it brings a relative error of {found.noise[name]:.2g}" for name in found.kept}
        layers = layers_of(prepared.graph)
        changes = [change_of(layer, prepared.graph, after, self.config, reasons) for layer in layers]
        changes += inner_layers(prepared.graph)
        count = sum(change.kept_because is None for change in changes)
        if not count:
            raise NothingToDo("No layer could be quantized: " + (changes[0].kept_because or ""))
        summary = f"Quantized {count} of {len(changes)} layers to int8 weights and {kind} activations."
        return Outcome(after, summary, (*changes, *corrected.changes(changes)), _curves(found), self._missed(found))

    def _missed(self, found: Found | None) -> tuple[str, ...]:
        if found is None or self.config.partial is None or found.met:
            return ()
        return (NO_LIMIT.format(limit=self.config.partial.max_drop, drop=found.drop),)

    def _blocks(self, prepared: Prepared, bits: int) -> Outcome:
        graph, size = prepared.graph, self.config.block_size
        reasons = {layer.name: prepared.reasons.get(layer.name) or why_not(graph, layer) for layer in layers_of(graph)}

        def build(ready: Graph, _kept: Sequence[str], _only: Sequence[str]) -> Graph:
            after = ready.copy()
            for layer in layers_of(ready):
                if reasons[layer.name] is None:
                    store_in_blocks(after, layer, bits, size)
            drop_unread(after)
            return after

        def relearn(form: Linear, moments: Floats, _after: Graph) -> Learned | None:
            stored = reasons[form.layer.name] is None
            return learned_blocks(form, moments, graph, bits, size) if stored else None

        corrected = Corrected(prepared, self.config, build, relearn)
        form = f"int{bits} in blocks of {size}"
        changes = [stored(layer, form, reasons[layer.name]) for layer in layers_of(graph)] + inner_layers(graph)
        count = sum(change.kept_because is None for change in changes)
        if not count:
            raise NothingToDo("No layer could be stored in blocks: " + (changes[0].kept_because or ""))
        summary = f"Stored {count} of {len(changes)} layers' weights as {form}."
        return Outcome(corrected(), summary, (*changes, *corrected.changes(changes)))


def _curves(found: Found | None) -> tuple[Curve, ...]:
    """The error that each layer alone brings, most sensitive first."""
    if found is None or not found.noise:
        return ()
    ranked = sorted(found.noise.values(), reverse=True)
    x = tuple(float(number) for number in range(1, len(ranked) + 1))
    return (Curve(name="sensitivity", x_label="layer", y_label="relative error", x=x, y=tuple(ranked)),)
