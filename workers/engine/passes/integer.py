"""What onnxruntime's integer quantizers did to each layer, and why they left others."""

from whetstone.contract.quantization import Activations
from whetstone.contract.reports import LayerChange
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import Layer
from workers.engine.passes.quantizer import DYNAMIC_OPS, STATIC_OPS

INTEGER_OPS = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QLinearConv",
    "QLinearMatMul", "QGemm", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulNBits", "QAttention",
})  # fmt: skip
SUFFIXES = ("_quantized", "_Transposed_quantized")
"""How onnxruntime names a weight that it has quantized."""


def quantizable(activations: Activations) -> frozenset[str]:
    """Ops with an integer form. Dynamically, a Gemm is quantized as a MatMul and an Add."""
    return frozenset(STATIC_OPS) if activations is Activations.STATIC else frozenset({*DYNAMIC_OPS, "Gemm"})


def change_of(
    layer: Layer, before: Graph, after: Graph, activations: Activations, reasons: dict[str, str]
) -> LayerChange:
    """What became of a layer; `reasons` says why some were left on purpose, by layer name."""
    made = next((f"{layer.weight}{s}" for s in SUFFIXES if f"{layer.weight}{s}" in after.constants), None)
    dtype = before.dtype(layer.weight)
    if made is not None and layer.name not in reasons:
        scales = after.constants.get(f"{made.removesuffix('_quantized')}_scale")
        how = "per channel" if scales is not None and scales.dims and scales.dims[0] > 1 else "per tensor"
        return LayerChange(name=layer.name, op=layer.op, change="quantized", before=dtype, after=f"int8, {how}")
    reason = reasons.get(layer.name) or _reason(layer, dtype, activations)
    return LayerChange(
        name=layer.name, op=layer.op, change="kept in float", before=dtype, after=dtype, kept_because=reason
    )


def _reason(layer: Layer, dtype: str, activations: Activations) -> str:
    if layer.op not in quantizable(activations):
        return f"{layer.op} has no {activations} int8 form in onnxruntime"
    if dtype != "float32":
        return "its weight is not float32"
    return "onnxruntime's quantizer left it; its weight may be computed (try 'simplify' first) or shared"
