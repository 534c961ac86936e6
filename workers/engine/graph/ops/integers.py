"""Ops on quantized integers, for inference. Products are computed in double, which holds all of int32 exactly."""

import ml_dtypes
import torch
from torch import Tensor

from workers.engine.graph.ops.convolution import CONV
from workers.engine.graph.ops.node import Node, op
from workers.engine.graph.ops.quantization import stored_type
from workers.engine.graph.ops.values import Value, as_tensor
from workers.engine.graph.ops.windows import window_of


def _centered(x: Tensor, zero: Tensor | None, *, rows: bool = False) -> Tensor:
    """Without the zero point: one number, or one per column (of the left operand: per row)."""
    wide = x.double()
    if zero is None:
        return wide
    offset = zero.double()
    return wide - (offset.unsqueeze(-1) if rows and offset.dim() == 1 and offset.numel() > 1 else offset)


def _product(node: Node, x: Tensor, w: Tensor) -> Tensor:
    window = window_of(node, x, list(w.shape[2:]))
    run = CONV[len(window.kernel)]
    return run(window.padded(x), w, None, window.strides, 0, window.dilations, node.get("group", 1))


def _per_output(value: Tensor, rank: int) -> Tensor:
    """A number per output channel, before the other axes of a weight [O, …]."""
    return value.double().reshape([-1] + [1] * (rank - 1)) if value.numel() > 1 else value.double().reshape(())


def matmul_integer(_: Node, a: Tensor, b: Tensor, zero_a: Tensor | None = None, zero_b: Tensor | None = None) -> Tensor:
    return (_centered(a, zero_a, rows=True) @ _centered(b, zero_b)).to(torch.int32)


def conv_integer(
    node: Node, x: Tensor, w: Tensor, zero_x: Tensor | None = None, zero_w: Tensor | None = None
) -> Tensor:
    weight = w.double() if zero_w is None else w.double() - _per_output(zero_w, w.dim())
    return _product(node, _centered(x, zero_x), weight).to(torch.int32)


def _stored(node: Node, real: Tensor, scale: Tensor, zero: Value) -> Tensor:
    limits = ml_dtypes.iinfo(stored_type(node, zero))  # type: ignore[no-untyped-call] # published without types
    scaled = real / scale.double()
    offset = as_tensor(zero, real.device).double()
    return (scaled.round() + offset).clamp(int(limits.min), int(limits.max)).to(as_tensor(zero).dtype)


def qlinear_matmul(
    node: Node, a: Tensor, scale_a: Tensor, zero_a: Tensor, b: Tensor, scale_b: Tensor, zero_b: Tensor,
    scale: Tensor, zero: Value,
) -> Tensor:  # fmt: skip
    left = _centered(a, zero_a, rows=True) * (
        scale_a.double().unsqueeze(-1) if scale_a.numel() > 1 else scale_a.double()
    )
    right = _centered(b, zero_b) * scale_b.double()
    return _stored(node, left @ right, scale, zero)


def qlinear_conv(
    node: Node, x: Tensor, scale_x: Tensor, zero_x: Tensor, w: Tensor, scale_w: Tensor, zero_w: Tensor,
    scale: Tensor, zero: Value, bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The bias is in units of scale_x · scale_w."""
    product = _product(node, _centered(x, zero_x), w.double() - _per_output(zero_w, w.dim()))
    if bias is not None:
        product = product + _per_output(bias, product.dim() - 1)
    real = product * scale_x.double() * _per_output(scale_w, product.dim() - 1)
    return _stored(node, real, scale, zero)


INTEGERS = {
    "MatMulInteger": op(matmul_integer, smooth=False),
    "ConvInteger": op(conv_integer, smooth=False),
    "QLinearMatMul": op(qlinear_matmul, smooth=False, raw=[7]),
    "QLinearConv": op(qlinear_conv, smooth=False, raw=[7]),
}
