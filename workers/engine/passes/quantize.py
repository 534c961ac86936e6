"""Fewer bits: integer computing, weights in blocks, float16 or bfloat16."""

from typing import assert_never

from whetstone.contract.datasets import Split
from whetstone.contract.quantization import Activations, Precision, Quantize
from whetstone.contract.statistics import CalibrationStatistics
from whetstone.contract.steps import InputRole
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError
from workers.engine.graph.edit import name_nodes, store_constants_as_initializers, store_weights_directly
from workers.engine.graph.graph import Graph, name_of
from workers.engine.graph.layers import Layer, layers_of
from workers.engine.graph.reasons import reason_of
from workers.engine.passes.checks import probes
from workers.engine.passes.errors import BrokenResult, CalibrationFailed, NeedsDataset, NothingToDo
from workers.engine.passes.graph_pass import Context, GraphPass, Outcome
from workers.engine.passes.names import chosen_names, excluded_weights
from workers.engine.passes.quantizing.agreement import agrees_at_every_batch
from workers.engine.passes.quantizing.calibration import Calibration
from workers.engine.passes.quantizing.corrections import even_out_channels, smooth_activations
from workers.engine.passes.quantizing.halving import brain_floats, half_floats
from workers.engine.passes.quantizing.integer import INTEGER_OPS, quantizable, why_kept
from workers.engine.passes.quantizing.kinds import Kind, in_blocks, quantized, with_dynamic_ranges, with_static_ranges
from workers.engine.passes.quantizing.prepared import Prepared
from workers.engine.passes.quantizing.statistics import Statistics
from workers.engine.passes.quantizing.stored import inner_layers
from workers.engine.passes.quantizing.weight_only import OPS as BLOCK_OPS
from workers.engine.passes.quantizing.weight_only import why_not

EXCLUDED = "it is excluded"
FROM_STATISTICS = "Ranges are from statistics of {samples} samples, which were measured where the data are."


class QuantizePass(GraphPass[Quantize]):
    """Dispatches on what weights are stored in and when activations find their range."""

    def __init__(self, config: Quantize, statistics: CalibrationStatistics | None = None) -> None:
        super().__init__(config)
        self._statistics = statistics if config.is_static else None

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
        if self._statistics is not None and (self.config.equalize or self.config.smooth is not None):
            raise CalibrationFailed(
                "Statistics tell the ranges of the model as it is, not as `equalize` or `smooth` would make it.",
                hint="Leave those out, or calibrate with a dataset.",
            )
        needy = self.config.needs_data if self._statistics is None else self.config.needs_samples
        if needy and (data is None or not data.has(Split.CALIBRATION)):
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
        reasons = dict.fromkeys(self._excluded_nodes(graph), EXCLUDED)
        prepared = Prepared(ready, reasons, calibration, context, self._measured(data, context))
        if prepared.statistics is not None:
            prepared.notes.append(FROM_STATISTICS.format(samples=prepared.statistics.found.samples))
        elif self.config.needs_data:
            prepared.notes += [*prepared.samples.check(), *prepared.samples.notes()]
        return prepared

    def _measured(self, data: Samples | None, context: Context) -> Statistics | None:
        if self._statistics is None:
            return None
        original = context.model(InputRole.MODEL)
        return Statistics(self._statistics, original, next(iter(probes(original, data)), None))

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
                return quantized(graph, prepared, self.config, in_blocks(prepared, self.config, 4))
            case Precision.INT8:
                return quantized(graph, prepared, self.config, self._eight_bits(prepared))
            case _:
                assert_never(self.config.precision)

    def _eight_bits(self, prepared: Prepared) -> Kind:
        match self.config.activations:
            case Activations.NONE:
                return in_blocks(prepared, self.config, 8)
            case Activations.DYNAMIC:
                return with_dynamic_ranges(prepared, self.config)
            case Activations.STATIC | None:
                return with_static_ranges(prepared, self.config)
            case _:
                assert_never(self.config.activations)
