"""What onnxruntime's integer quantizers did to each layer, and why they left others."""

import numpy as np

from whetstone.contract.quantization import Form, Quantize
from whetstone.contract.reports import LayerChange
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import Layer
from workers.engine.passes.quantizing.moments import Floats, Linear
from workers.engine.passes.quantizing.quantizer import DYNAMIC_OPS, ops_with_integer_form
from workers.engine.passes.quantizing.rounding import Grid, Learned, learn
from workers.engine.passes.quantizing.stored import stored

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
    scale, zero = (np.asarray(after.weight(f"{base}_{part}"), np.float32) for part in ("scale", "zero_point"))
    if scale.size not in (1, rows.shape[0] * rows.shape[1]):
        return None
    across = (form.groups, -1, 1) if scale.size > 1 else (1, 1, 1)
    made = learn(rows, Grid(scale.reshape(across), zero.reshape(across), -127, 127), moments)
    flat = made.levels.reshape(-1, form.width) if form.node.op != "Conv" else made.levels.reshape(form.layer.shape)
    stored_turned = turned != name.endswith(SUFFIXES[1])
    return Learned({name: (flat.T if stored_turned else flat).astype(np.int8)}, made.before, made.after)


def change_of(layer: Layer, before: Graph, after: Graph, config: Quantize, reasons: dict[str, str]) -> LayerChange:
    """What became of a layer; `reasons` says why some were left on purpose, by layer name."""
    made, dtype, how = _stored(layer, after), before.dtype(layer.weight), "per tensor"
    reason = reasons.get(layer.name)
    if made is None:
        reason = reason or why_kept(layer, dtype, config)
    elif after.weight(f"{made.removesuffix('_quantized')}_scale").size > 1:
        how = "per channel"
    return stored(layer, f"int8, {how}", reason, dtype)


def why_kept(layer: Layer, dtype: str, config: Quantize) -> str:
    """Why a layer has no integers, as far as that can be told."""
    if layer.op not in quantizable(config):
        kind = "static" if config.is_static else "dynamic"
        where = "for NVIDIA" if config.form is Form.NVIDIA else "in onnxruntime"
        return f"{layer.op} has no {kind} int8 form {where}"
    if dtype != "float32":
        return "its weight is not float32"
    return "onnxruntime's quantizer left it; its weight may be computed (try 'simplify' first) or shared"
