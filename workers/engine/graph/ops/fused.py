"""Several nodes in one call of torch: the same function, with fewer passes over memory, forwards and backwards."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.ops.node import Node, Op, op

BATCHED = 4
"""Rank of what torch has a kernel of attention for: [N, H, T, D]."""


def linear(*, turned: bool) -> Op:
    """The sum x · W + b, or x · Wᵀ + b if the weight is stored turned."""
    return op(lambda _, x, weight, bias: F.linear(x, weight if turned else weight.t(), bias))


def _fits(mask: Tensor | None, shape: tuple[int, ...]) -> bool:
    """Whether a mask makes the logits no larger than they are."""
    if mask is None:
        return True
    pairs = zip(reversed(mask.shape), reversed(shape), strict=False)
    return mask.dim() <= len(shape) and all(size in (1, whole) for size, whole in pairs)


def attention(scale: float, axis: int) -> Op:
    """Softmax(scale · q · kᵀ + mask) · v, given kᵀ. The softmax is along `axis` of the logits."""

    def run(_: Node, q: Tensor, turned: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        alike = q.dim() == BATCHED and q.shape[:2] == turned.shape[:2] == v.shape[:2]
        if axis in (-1, q.dim() - 1) and alike and _fits(mask, (*q.shape[:3], turned.shape[3])):
            return F.scaled_dot_product_attention(q, turned.transpose(-1, -2), v, mask, scale=scale)
        logits = (q @ turned) * scale
        return torch.softmax(logits if mask is None else logits + mask, axis) @ v

    return op(run)


GELU = op(lambda _, x: F.gelu(x))


def layer_norm(epsilon: float) -> Op:
    """Along the last axis, which the scale tells the length of."""
    return op(lambda _, x, scale, bias: F.layer_norm(x, scale.shape, scale, bias, epsilon))
