"""Q/DQ pairs with a straight-through gradient (Bengio et al. 2013): quantization-aware training of a QDQ graph.

Between a QuantizeLinear and its DequantizeLinear, integers are carried as floats, so that a gradient can pass.
"""

import torch
from torch import Tensor

from workers.engine.graph.ops.node import Node, op


def along(values: Tensor, axis: int, rank: int) -> Tensor:
    """Scales or zero points of an axis, shaped to broadcast to a value of `rank` axes."""
    if values.numel() == 1:
        return values.reshape(())
    return values.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


def round_through(x: Tensor) -> Tensor:
    """Round half to even; the gradient passes as if nothing had happened."""
    return x + (x.round() - x).detach()


def to_integers(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    """Compute x / scale + zero point, rounded and saturated to the zero point's type (uint8 without one), as floats."""
    limits = torch.iinfo(torch.uint8 if zero is None else zero.dtype)
    offset = 0 if zero is None else along(zero, axis, x.dim()).to(x.dtype)
    return (round_through(x / along(scale, axis, x.dim())) + offset).clamp(limits.min, limits.max)


def from_integers(q: Tensor, scale: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    q = q.to(scale.dtype)
    offset = 0 if zero is None else along(zero, axis, q.dim()).to(q.dtype)
    return (q - offset) * along(scale, axis, q.dim())


def quantize(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    return to_integers(x, scale, zero, node.get("axis", 1))


def dequantize(node: Node, q: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    return from_integers(q, scale, zero, node.get("axis", 1))


def requantize(node: Node, latent: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """A DequantizeLinear over a learned weight, whose float value is kept behind the integers of the graph."""
    axis = node.get("axis", 1)
    return from_integers(to_integers(latent, scale, zero, axis), scale, zero, axis)


QUANTIZATION = {"QuantizeLinear": op(quantize, learned=[0]), "DequantizeLinear": op(dequantize)}
REQUANTIZE = op(requantize, learned=[0])
