"""Q/DQ pairs with a straight-through gradient (Bengio et al. 2013): quantization-aware training of a QDQ graph.

Between a QuantizeLinear and its DequantizeLinear, integers are carried as floats, so that a gradient can pass. Scales
are for the whole tensor, along an axis, or for blocks of an axis.
"""

from typing import Any

import ml_dtypes
import numpy as np
import torch
from onnx import helper, numpy_helper
from torch import Tensor

from workers.engine.graph.ops.node import Node, op
from workers.engine.graph.ops.values import TORCH_TYPES, Host, Value, as_host, as_tensor

NUMPY_TYPES = {ours: theirs for theirs, ours in TORCH_TYPES.items()}
HALF = (torch.float16, torch.bfloat16)


def along(values: Tensor, node: Node, x: Tensor) -> Tensor:
    """Scales or zero points, shaped to broadcast to x: one number, one per place of an axis, or one per block."""
    if values.numel() == 1:
        return values.reshape(())
    axis, block = node.get("axis", 1) % x.dim(), node.get("block_size", 0)
    if block:
        return values.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    return values.reshape([-1 if i == axis else 1 for i in range(x.dim())])


def round_through(x: Tensor) -> Tensor:
    """Round half to even; the gradient passes as if nothing had happened."""
    return x + (x.round() - x).detach()


def numpy_type(onnx_type: int) -> "np.dtype[Any]":
    return np.dtype(helper.tensor_dtype_to_np_dtype(onnx_type))


def stored_type(node: Node, zero: Value) -> "np.dtype[Any]":
    """What a QuantizeLinear makes: the zero point's type, or the one asked for, or uint8."""
    if zero is not None:
        return NUMPY_TYPES[zero.dtype] if isinstance(zero, Tensor) else np.asarray(zero).dtype
    asked = node.get("output_dtype", 0)
    return numpy_type(asked) if asked else np.dtype(np.uint8)


def _to_small_floats(scaled: Tensor, dtype: "np.dtype[Any]", node: Node) -> Tensor:
    host = as_host(scaled.float())
    with np.errstate(all="ignore"):
        cast: Host = numpy_helper.saturate_cast(host, dtype) if node.get("saturate", 1) else host.astype(dtype)
    return scaled + (as_tensor(cast, scaled.device) - scaled).detach()


def to_integers(node: Node, x: Tensor, scale: Tensor, zero: Value) -> Tensor:
    """Compute x / scale + zero point, rounded and saturated to the type to store, as floats."""
    dtype = stored_type(node, zero)
    x = x.float() if x.dtype in HALF or not x.is_floating_point() else x
    scaled = x / along(scale.to(x.dtype), node, x)
    if dtype.kind not in "iu" and not dtype.name.startswith(("int", "uint")):
        return _to_small_floats(scaled, dtype, node)
    limits = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call] # published without types
    offset = 0 if zero is None else along(as_tensor(zero, x.device), node, x).to(x.dtype)
    return (round_through(scaled) + offset).clamp(int(limits.min), int(limits.max))


def from_integers(node: Node, q: Tensor, scale: Tensor, zero: Value) -> Tensor:
    """In the type of the scale, or the one asked for."""
    asked = node.get("output_dtype", 0) if node.op == "DequantizeLinear" else 0
    dtype = TORCH_TYPES[numpy_type(asked)] if asked else scale.dtype
    wide = torch.float32 if scale.dtype in HALF else scale.dtype
    q = q.to(wide)
    offset = 0 if zero is None else along(as_tensor(zero, q.device), node, q).to(wide)
    return ((q - offset) * along(scale.to(wide), node, q)).to(dtype)


def requantize(node: Node, latent: Tensor, scale: Tensor, zero: Value, stored: Value) -> Tensor:
    """A DequantizeLinear over a learned weight, whose float value is kept behind the integers of the graph."""
    return from_integers(node, to_integers(node, latent, scale, stored if zero is None else zero), scale, zero)


def dynamic_quantize(_: Node, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """To uint8 with the range of x itself, zero included."""
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    scale = (high - low) / 255
    zero = torch.where(scale == 0, torch.zeros_like(scale), (-low / scale).round().clamp(0, 255))
    divisor = torch.where(scale == 0, torch.ones_like(scale), scale)
    q = (torch.round(x / divisor) + zero).clamp(0, 255)
    return q.to(torch.uint8), scale, zero.to(torch.uint8)


QUANTIZATION = {
    "QuantizeLinear": op(lambda node, x, scale, zero=None: to_integers(node, x, scale, zero), raw=[2], learned=[0]),
    "DequantizeLinear": op(lambda node, q, scale, zero=None: from_integers(node, q, scale, zero), raw=[2]),
    "DynamicQuantizeLinear": op(dynamic_quantize, smooth=False),
}
