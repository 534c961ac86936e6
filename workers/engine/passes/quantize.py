"""Fewer bits: integer computing, weights in blocks, or float16."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from whetstone.contract.datasets import Split
from whetstone.contract.quantization import Activations, Calibrator, Precision, Quantize
from whetstone.contract.reports import Curve, LayerChange
from workers.engine.data.fit import fixed_at_one
from workers.engine.data.samples import Batch, Samples
from workers.engine.errors import EngineError
from workers.engine.graph.edit import name_nodes, store_constants_as_initializers, store_weights_directly
from workers.engine.graph.graph import Array, Graph, name_of
from workers.engine.graph.layers import Layer, layers_of
from workers.engine.graph.reasons import reason_of
from workers.engine.passes.errors import BrokenResult, NeedsDataset, NothingToDo
from workers.engine.passes.graph_pass import Context, GraphPass, Outcome
from workers.engine.passes.half import halved, overflowing
from workers.engine.passes.integer import INTEGER_OPS, change_of, quantizable
from workers.engine.passes.names import chosen_names, excluded_weights
from workers.engine.passes.partial import Found, Judge, search
from workers.engine.passes.quantizer import quantize_dynamic, quantize_static
from workers.engine.passes.ranges import Ranges, find_ranges, with_shapes
from workers.engine.passes.weight_only import OPS as BLOCK_OPS
from workers.engine.passes.weight_only import drop_unused_constants, store_in_blocks, why_not

BATCH = 16
SEED = 0
PERCENTILE = 99.99
NO_LIMIT = "Partial quantization could not keep its limit of {limit:g} points: {drop:.2f} are lost. Nearest miss kept."


@dataclass(frozen=True)
class Prepared:
    """The graph made ready, what may not be touched in it, and the samples to calibrate with."""

    graph: Graph
    exclude: list[str]
    data: Samples | None
    context: Context

    def samples(self) -> Samples:
        if self.data is None:
            raise NeedsDataset
        return self.data


class QuantizePass(GraphPass[Quantize]):
    """Dispatches on what weights are stored in and when activations find their range."""

    @property
    def _activations(self) -> Activations:
        default = Activations.STATIC if self.config.precision is Precision.INT8 else Activations.NONE
        return self.config.activations or default

    @property
    def _in_blocks(self) -> bool:
        return self._activations is Activations.NONE and self.config.precision is not Precision.FP16

    def _excluded(self, graph: Graph) -> tuple[str, ...]:
        return chosen_names(graph, self.config.exclude, self.config.exclude_ops, self.config.exclude_patterns)

    def _candidates(self, graph: Graph) -> list[Layer]:
        kept = excluded_weights(graph, self._excluded(graph))
        layers = [layer for layer in layers_of(graph) if layer.weight not in kept]
        layers = [layer for layer in layers if graph.dtype(layer.weight) == "float32"]
        if self.config.precision is Precision.FP16:
            return layers
        ops = frozenset(BLOCK_OPS) if self._in_blocks else quantizable(self._activations)
        return [layer for layer in layers if layer.op in ops]

    def requires(self, graph: Graph, data: Samples | None) -> None:
        self._excluded(graph)
        if any(node.op_type in INTEGER_OPS for node in graph.nodes):
            raise NothingToDo("The model is quantized already.")
        if not self._candidates(graph):
            raise NothingToDo("There is no float32 weight left to quantize.")
        if self._activations is Activations.STATIC and (data is None or not data.has(Split.CALIBRATION)):
            raise NeedsDataset(
                "Static quantization needs calibration samples.",
                hint="Add a dataset with a calibration or train split, or set activations to 'dynamic'.",
            )

    def run(self, graph: Graph, data: Samples | None, context: Context) -> Outcome:
        ready = graph.copy()
        name_nodes(ready)
        store_constants_as_initializers(ready)
        store_weights_directly(ready)
        prepared = Prepared(ready, self._excluded_nodes(graph), data, context)
        try:
            return self._dispatch(graph, prepared)
        except EngineError:
            raise
        except Exception as error:  # the libraries raise whatever they stumble over
            raise BrokenResult(f"The quantizer fails on this model: {reason_of(error)}") from error

    def _dispatch(self, graph: Graph, prepared: Prepared) -> Outcome:
        match self.config.precision:
            case Precision.FP16:
                return self._half(prepared)
            case Precision.INT4:
                return self._blocks(prepared, bits=4)
            case Precision.INT8:
                return self._eight_bits(graph, prepared)
            case _:
                assert_never(self.config.precision)

    def _eight_bits(self, graph: Graph, prepared: Prepared) -> Outcome:
        match self._activations:
            case Activations.NONE:
                return self._blocks(prepared, bits=8)
            case Activations.DYNAMIC:
                return self._integer(prepared, self._dynamic(prepared), "dynamic uint8")
            case Activations.STATIC:
                return self._static(graph, prepared)
            case _:
                assert_never(self._activations)

    def _excluded_nodes(self, graph: Graph) -> list[str]:
        """Nodes excluded themselves, and those whose weight is; told on the graph as it came, since a weight may have
        another name in what is made ready.
        """
        names = self._excluded(graph)
        weights = excluded_weights(graph, names)
        by_weight = {layer.name for layer in layers_of(graph) if layer.weight in weights}
        return [name_of(node) for node in graph.nodes if name_of(node) in {*names, *by_weight}]

    def _chosen(self, data: Samples, wanted: int) -> Array:
        """A seeded choice of calibration samples, in order."""
        return np.sort(np.random.default_rng(SEED).permutation(data.count(Split.CALIBRATION))[:wanted])

    def _batches(self, prepared: Prepared, *, labels: bool = False) -> Iterator[Batch]:
        data = prepared.samples()
        size = 1 if fixed_at_one(prepared.graph.inputs) else BATCH
        chosen = self._chosen(data, self.config.calibration_samples)
        with_labels = labels and data.has_labels(Split.CALIBRATION)
        return data.batches(Split.CALIBRATION, size, within=chosen, with_labels=with_labels)

    def _calibrated(self, prepared: Prepared) -> Ranges:
        passes = 1 if self.config.calibrator in (Calibrator.MINMAX, Calibrator.MOVING_AVERAGE) else 2
        wanted = min(self.config.calibration_samples, prepared.samples().count(Split.CALIBRATION))
        done = 0

        def batches() -> Iterator[dict[str, Array]]:
            nonlocal done
            for batch in self._batches(prepared):
                yield batch.inputs
                done += batch.size
                share = 0.4 * min(done / (passes * wanted), 1.0)
                prepared.context.tell(share, f"Calibrated with {min(done, wanted)} of {wanted} samples", {})

        model, context = with_shapes(prepared.graph), prepared.context
        calibrator, percentile = self.config.calibrator, self.config.percentile or PERCENTILE
        return find_ranges(model, batches, context.scratch, context.threads, calibrator, percentile)

    def _dynamic(self, prepared: Prepared) -> Graph:
        scratch = prepared.context.scratch
        per_channel, exclude = self.config.per_channel, prepared.exclude
        made = quantize_dynamic(with_shapes(prepared.graph), per_channel=per_channel, exclude=exclude, scratch=scratch)
        return Graph(made, upgraded_from=prepared.graph.upgraded_from)

    def _static(self, graph: Graph, prepared: Prepared) -> Outcome:
        ranges = self._calibrated(prepared)
        build = self._builder(prepared, ranges)
        if self.config.partial is None:
            return self._integer(prepared, build((), ()), self.config.activation_type)
        found = self._partial(graph, prepared, build)
        return self._integer(prepared, found.graph, self.config.activation_type, found)

    def _builder(self, prepared: Prepared, ranges: Ranges) -> Callable[[Sequence[str], Sequence[str]], Graph]:
        model = with_shapes(prepared.graph)

        def build(kept: Sequence[str], only: Sequence[str]) -> Graph:
            made = quantize_static(
                model,
                ranges,
                self.config.activation_type,
                per_channel=self.config.per_channel,
                exclude=[*prepared.exclude, *kept],
                only=only,
                scratch=prepared.context.scratch,
            )
            return Graph(made, upgraded_from=prepared.graph.upgraded_from)

        return build

    def _partial(
        self, graph: Graph, prepared: Prepared, build: Callable[[Sequence[str], Sequence[str]], Graph]
    ) -> Found:
        config, context, data = self.config.partial, prepared.context, prepared.samples()
        if config is None:
            raise NothingToDo
        largest = float(data.labels(Split.CALIBRATION).max()) if data.has_labels(Split.CALIBRATION) else 0.0
        judge = Judge(graph, lambda: self._batches(prepared, labels=True), largest, context.scratch, context.threads)
        layers = [layer.name for layer in self._candidates(prepared.graph) if layer.name not in prepared.exclude]

        def say(share: float, what: str) -> None:
            context.tell(0.4 + 0.6 * share, what, {})

        names = list(dict.fromkeys(layers))
        return search(names, config, judge, lambda kept: build(kept, ()), lambda name: build((), (name,)), say)

    def _integer(self, prepared: Prepared, after: Graph, kind: str, found: Found | None = None) -> Outcome:
        """What was really quantized, layer by layer. Raises NothingToDo if nothing was."""
        activations, reasons = self._activations, dict.fromkeys(prepared.exclude, "it is excluded")
        if found is not None:
            reasons |= {name: f"alone it brings a relative error of {found.noise[name]:.2g}" for name in found.kept}
        layers = layers_of(prepared.graph)
        changes = tuple(change_of(layer, prepared.graph, after, activations, reasons) for layer in layers)
        count = sum(change.kept_because is None for change in changes)
        if not count:
            raise NothingToDo("No layer could be quantized: " + (changes[0].kept_because or ""))
        summary = f"Quantized {count} of {len(changes)} layers to int8 weights and {kind} activations."
        return Outcome(after, summary, changes, _curves(found), (*self._notes(prepared.data), *self._missed(found)))

    def _missed(self, found: Found | None) -> tuple[str, ...]:
        if found is None or self.config.partial is None or found.met:
            return ()
        return (NO_LIMIT.format(limit=self.config.partial.max_drop, drop=found.drop),)

    def _notes(self, data: Samples | None) -> tuple[str, ...]:
        if self._activations is not Activations.STATIC or data is None:
            return ()
        have, wanted = data.count(Split.CALIBRATION), self.config.calibration_samples
        return (f"Calibrated with all {have} samples there are; {wanted} were asked for.",) if have < wanted else ()

    def _blocks(self, prepared: Prepared, bits: int) -> Outcome:
        graph, size = prepared.graph, self.config.block_size
        changes = []
        for layer in layers_of(graph):
            reason = "it is excluded" if layer.name in prepared.exclude else why_not(graph, layer)
            if reason is None:
                store_in_blocks(graph, layer, bits, size)
            changes.append(_stored(layer, f"int{bits} in blocks of {size}", reason))
        drop_unused_constants(graph)
        count = sum(change.kept_because is None for change in changes)
        if not count:
            raise NothingToDo("No layer could be stored in blocks: " + (changes[0].kept_because or ""))
        summary = f"Stored {count} of {len(changes)} layers' weights as int{bits} in blocks of {size}."
        return Outcome(graph, summary, tuple(changes))

    def _half(self, prepared: Prepared) -> Outcome:
        graph, data = prepared.graph, prepared.data
        ranges = self._calibrated(prepared) if data is not None and data.has(Split.CALIBRATION) else {}
        large = overflowing(graph, ranges)
        after = Graph(halved(with_shapes(graph), [*prepared.exclude, *large]), upgraded_from=graph.upgraded_from)
        reasons = dict.fromkeys(prepared.exclude, "it is excluded")
        reasons |= {name: f"values up to {value:.3g} would overflow" for name, value in large.items()}
        changes = tuple(_stored(layer, "float16", reasons.get(layer.name)) for layer in layers_of(graph))
        notes = () if ranges else ("Without samples only constants were checked for overflow.",)
        kept = f", {len(large)} nodes kept in float32" if large else ""
        return Outcome(after, f"Converted to float16{kept}.", changes, notes=notes)


def _stored(layer: Layer, after: str, reason: str | None) -> LayerChange:
    return LayerChange(
        name=layer.name,
        op=layer.op,
        change="kept in float" if reason else "quantized",
        before="float32",
        after="float32" if reason else after,
        kept_because=reason,
    )


def _curves(found: Found | None) -> tuple[Curve, ...]:
    """The error that each layer alone brings, most sensitive first."""
    if found is None or not found.noise:
        return ()
    ranked = sorted(found.noise.values(), reverse=True)
    x = tuple(float(number) for number in range(1, len(ranked) + 1))
    return (Curve(name="sensitivity", x_label="layer", y_label="relative error", x=x, y=tuple(ranked)),)
