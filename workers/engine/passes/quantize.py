"""8-bit integer weights and activations."""

from collections.abc import Iterator
from typing import assert_never

import numpy as np
from onnx import ModelProto

from whetstone.contract.datasets import Split
from whetstone.contract.passes import Activations, Quantize
from whetstone.contract.reports import LayerChange
from workers.engine.data.fit import fixed_at_one
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError
from workers.engine.graph.edit import name_nodes, store_constants_as_initializers, store_weights_directly
from workers.engine.graph.graph import Array, Graph, name_of
from workers.engine.graph.layers import Layer, layers_of
from workers.engine.graph.reasons import reason_of
from workers.engine.passes.errors import BrokenResult, NeedsDataset, NothingToDo
from workers.engine.passes.graph_pass import Context, GraphPass, Outcome
from workers.engine.passes.names import check_names, excluded_weights
from workers.engine.passes.quantizer import DYNAMIC_OPS, STATIC_OPS, quantize_dynamic, quantize_static
from workers.engine.passes.ranges import find_ranges, with_shapes

INTEGER_OPS = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QLinearConv",
    "QLinearMatMul", "QGemm", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulNBits", "QAttention",
})  # fmt: skip
BATCH = 16
SEED = 0
SUFFIXES = ("_quantized", "_Transposed_quantized")
"""How onnxruntime names a weight that it has quantized."""


class QuantizePass(GraphPass[Quantize]):
    """Static: QDQ pairs with MinMax ranges. Dynamic: integer operators that find their ranges at run time."""

    @property
    def _is_static(self) -> bool:
        return self.config.activations is Activations.STATIC

    @property
    def _ops(self) -> frozenset[str]:
        # dynamically, a Gemm is quantized as a MatMul and an Add
        return frozenset(STATIC_OPS) if self._is_static else frozenset({*DYNAMIC_OPS, "Gemm"})

    def _candidates(self, graph: Graph) -> list[Layer]:
        excluded = excluded_weights(graph, self.config.exclude)
        layers = (layer for layer in layers_of(graph) if layer.op in self._ops and layer.weight not in excluded)
        return [layer for layer in layers if graph.dtype(layer.weight) == "float32"]

    def requires(self, graph: Graph, data: Samples | None) -> None:
        check_names(graph, self.config.exclude)
        if any(node.op_type in INTEGER_OPS for node in graph.nodes):
            raise NothingToDo("The model is quantized already.")
        if not self._candidates(graph):
            raise NothingToDo("There is no float32 weight left to quantize.")
        if self._is_static and (data is None or not data.has(Split.CALIBRATION)):
            raise NeedsDataset(
                "Static quantization needs calibration samples.",
                hint="Add a dataset with a calibration or train split, or set activations to 'dynamic'.",
            )

    def _excluded_nodes(self, graph: Graph) -> list[str]:
        """Nodes named in `exclude`, and those whose weight is."""
        weights = excluded_weights(graph, self.config.exclude)
        by_weight = {layer.name for layer in layers_of(graph) if layer.weight in weights}
        return [name_of(node) for node in graph.nodes if name_of(node) in {*self.config.exclude, *by_weight}]

    def _calibration(self, graph: Graph, data: Samples, context: Context) -> Iterator[dict[str, Array]]:
        """Inputs of a seeded choice of samples, telling of progress on the way."""
        have = data.count(Split.CALIBRATION)
        wanted = min(self.config.calibration_samples, have)
        chosen = np.sort(np.random.default_rng(SEED).permutation(have)[:wanted])
        size, done = 1 if fixed_at_one(graph.inputs) else BATCH, 0
        for batch in data.batches(Split.CALIBRATION, size, within=chosen):
            yield batch.inputs
            done += batch.size
            context.tell(0.8 * done / wanted, f"Calibrated with {done} of {wanted} samples", {})

    def _quantized(self, graph: Graph, exclude: list[str], data: Samples | None, context: Context) -> ModelProto:
        model = with_shapes(graph)
        match self.config.activations:
            case Activations.DYNAMIC:
                return quantize_dynamic(
                    model, per_channel=self.config.per_channel, exclude=exclude, scratch=context.scratch
                )
            case Activations.STATIC if data is not None:
                batches = self._calibration(graph, data, context)
                ranges = find_ranges(model, batches, context.scratch, context.threads)
                return quantize_static(
                    model,
                    ranges,
                    self.config.activation_type,
                    per_channel=self.config.per_channel,
                    exclude=exclude,
                    scratch=context.scratch,
                )
            case Activations.STATIC:
                raise NeedsDataset
            case _:
                assert_never(self.config.activations)

    def run(self, graph: Graph, data: Samples | None, context: Context) -> Outcome:
        ready = graph.copy()
        name_nodes(ready)
        store_constants_as_initializers(ready)
        store_weights_directly(ready)
        exclude = self._excluded_nodes(graph)  # a weight may have another name in what is made ready
        try:
            after = Graph(self._quantized(ready, exclude, data, context), upgraded_from=graph.upgraded_from)
        except EngineError:
            raise
        except Exception as error:  # onnxruntime's quantizers raise whatever they stumble over
            raise BrokenResult(f"onnxruntime's quantizer fails on this model: {reason_of(error)}") from error
        changes = tuple(self._change(layer, ready, after, exclude) for layer in layers_of(ready))
        count = sum(change.kept_because is None for change in changes)
        if not count:
            raise NothingToDo("No layer could be quantized: " + (changes[0].kept_because or ""))
        kind = self.config.activation_type if self._is_static else "dynamic uint8"
        summary = f"Quantized {count} of {len(changes)} layers to int8 weights and {kind} activations."
        return Outcome(after, summary, changes, notes=self._notes(data))

    def _notes(self, data: Samples | None) -> tuple[str, ...]:
        if not self._is_static or data is None:
            return ()
        have, wanted = data.count(Split.CALIBRATION), self.config.calibration_samples
        return (f"Calibrated with all {have} samples there are; {wanted} were asked for.",) if have < wanted else ()

    def _change(self, layer: Layer, before: Graph, after: Graph, excluded: list[str]) -> LayerChange:
        made = next((f"{layer.weight}{s}" for s in SUFFIXES if f"{layer.weight}{s}" in after.constants), None)
        dtype = before.dtype(layer.weight)
        if made is not None and layer.name not in excluded:
            scales = after.constants.get(f"{made.removesuffix('_quantized')}_scale")
            how = "per channel" if scales is not None and scales.dims and scales.dims[0] > 1 else "per tensor"
            return LayerChange(name=layer.name, op=layer.op, change="quantized", before=dtype, after=f"int8, {how}")
        return LayerChange(
            name=layer.name,
            op=layer.op,
            change="kept in float",
            before=dtype,
            after=dtype,
            kept_because=self._reason(layer, before, excluded),
        )

    def _reason(self, layer: Layer, before: Graph, excluded: list[str]) -> str:
        if layer.name in excluded:
            return "it is excluded"
        if layer.op not in self._ops:
            return f"{layer.op} has no {self.config.activations} int8 form in onnxruntime"
        if before.dtype(layer.weight) != "float32":
            return "its weight is not float32"
        return "onnxruntime's quantizer left it; its weight may be computed (try 'simplify' first) or shared"
