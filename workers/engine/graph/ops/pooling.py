"""Pools over one to three spatial axes."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.ops.node import Node, op
from workers.engine.graph.ops.windows import window_of

MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def max_pool(node: Node, x: Tensor) -> Tensor:
    window = window_of(node, x, node.attributes["kernel_shape"])
    padding: int | list[int] = 0
    if window.before == window.after and all(2 * p <= k for p, k in zip(window.before, window.kernel, strict=True)):
        padding = window.before
    else:
        x = window.padded(x, -math.inf)
    pool, ceil = MAX_POOL[len(window.kernel)], bool(node.get("ceil_mode", 0))
    pooled: Tensor = pool(x, window.kernel, window.strides, padding, window.dilations, ceil_mode=ceil)
    return pooled


def average_pool(node: Node, x: Tensor) -> Tensor:
    """The sum over a window divided by how many of its places count: those of x, or all."""
    window = window_of(node, x, node.attributes["kernel_shape"])
    pool, ceil = AVERAGE_POOL[len(window.kernel)], bool(node.get("ceil_mode", 0))
    ones = torch.ones_like(x[:1, :1])
    count = window.padded(ones, 1.0 if node.get("count_include_pad", 0) else 0.0)
    summed, counted = (pool(v, window.kernel, window.strides, 0, ceil) for v in (window.padded(x), count))
    return summed / counted


def _spatial(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.dim()))


POOLS = {
    "MaxPool": op(max_pool),
    "AveragePool": op(average_pool),
    "GlobalAveragePool": op(lambda _, x: x.mean(_spatial(x), keepdim=True)),
    "GlobalMaxPool": op(lambda _, x: x.amax(_spatial(x), keepdim=True)),
}
