"""What onnxruntime's integer quantizers did to each layer, and why they left others."""

import numpy as np

from whetstone.contract.quantization import Form, Quantize
from whetstone.contract.reports import LayerChange
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import Layer
from workers.engine.passes.moments import Floats, Linear
from workers.engine.passes.quantizer import DYNAMIC_OPS, ops_with_integer_form
from workers.engine.passes.rounding import Grids, Learned, learn

INTEGER_OPS = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QLinearConv",
    "QLinearMatMul", "QGemm", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulNBits", "QAttention",
})  # fmt: skip
SUFFIXES = ("_quantized", "_Transposed_quantized")
"""How onnxruntime names a weight that it has quantized."""


def quantizable(config: Quantize) -> frozenset[str]:
    """Ops with an integer form. Dynamically, a Gemm is quantized as a MatMul and an Add."""
    return frozenset(ops_with_integer_form(config.form) if config.is_static else (*DYNAMIC_OPS, "Gemm"))


def _stored(layer: Layer, after: Graph) -> str | None:
    """The constant that holds a layer's weight in integers; None if there is none."""
    return next((f"{layer.weight}{s}" for s in SUFFIXES if f"{layer.weight}{s}" in after.constants), None)


def learned_integers(form: Linear, moments: Floats, before: Graph, after: Graph) -> Learned | None:
    """The integers of a layer that err least at its output; None where the layer is not stored in integers.

    `moments` are [groups, K, K]. Scales and zero points stay.
    """
    name = _stored(form.layer, after)
    if name is None:
        return None
    weight, turned = np.asarray(before.weight(form.layer.weight), np.float32), form.turned
    rows = (weight.T if turned else weight).reshape(form.groups, -1, form.width)
    base = name.removesuffix("_quantized")
    scale, zero = after.weight(f"{base}_scale"), after.weight(f"{base}_zero_point")
    if scale.size not in (1, rows.shape[0] * rows.shape[1]):
        return None
    across = (form.groups, -1, 1) if scale.size > 1 else (1, 1, 1)
    made = learn(rows, Grids(scale.reshape(across), zero.reshape(across), -127, 127), moments)
    flat = made.levels.reshape(-1, form.width) if form.node.op != "Conv" else made.levels.reshape(form.layer.shape)
    stored_turned = turned != name.endswith(SUFFIXES[1])
    return Learned({name: (flat.T if stored_turned else flat).astype(np.int8)}, made.before, made.after)


def change_of(layer: Layer, before: Graph, after: Graph, config: Quantize, reasons: dict[str, str]) -> LayerChange:
    """What became of a layer; `reasons` says why some were left on purpose, by layer name."""
    made = _stored(layer, after)
    dtype = before.dtype(layer.weight)
    if made is not None and layer.name not in reasons:
        scales = after.constants.get(f"{made.removesuffix('_quantized')}_scale")
        how = "per channel" if scales is not None and scales.dims and scales.dims[0] > 1 else "per tensor"
        return LayerChange(name=layer.name, op=layer.op, change="quantized", before=dtype, after=f"int8, {how}")
    reason = reasons.get(layer.name) or _reason(layer, dtype, config)
    return LayerChange(
        name=layer.name, op=layer.op, change="kept in float", before=dtype, after=dtype, kept_because=reason
    )


def _reason(layer: Layer, dtype: str, config: Quantize) -> str:
    if layer.op not in quantizable(config):
        kind = "dynamic" if not config.is_static else "static"
        told = "for NVIDIA" if config.form is Form.NVIDIA else "in onnxruntime"
        return f"{layer.op} has no {kind} int8 form {told}"
    if dtype != "float32":
        return "its weight is not float32"
    return "onnxruntime's quantizer left it; its weight may be computed (try 'simplify' first) or shared"
