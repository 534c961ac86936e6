"""Pools over one to three spatial axes."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.ops.node import Node, op
from workers.engine.graph.ops.windows import Window, window_of

MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _is_even(window: Window) -> bool:
    """Whether torch's own padding can do it: the same on both sides, and at most half a kernel."""
    small = all(2 * p <= k for p, k in zip(window.before, window.kernel, strict=True))
    return window.before == window.after and small


def max_pool(node: Node, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    window = window_of(node, x, node.attributes["kernel_shape"])
    pool, ceil = MAX_POOL[len(window.kernel)], bool(node.get("ceil_mode", 0))
    wide = x if x.is_floating_point() else x.float()
    padding: int | list[int] = window.before if _is_even(window) else 0
    padded = wide if _is_even(window) else window.padded(wide, -math.inf)
    if len(node.outputs) == 1:
        made: Tensor = pool(padded, window.kernel, window.strides, padding, window.dilations, ceil_mode=ceil)
        return made.to(x.dtype)
    made, places = pool(padded, window.kernel, window.strides, padding, window.dilations, ceil, return_indices=True)
    shift = [0] * len(window.kernel) if _is_even(window) else window.before
    return made.to(x.dtype), _flat_places(node, x, places, list(padded.shape[2:]), shift)


def _flat_places(node: Node, x: Tensor, places: Tensor, sizes: list[int], shift: list[int]) -> Tensor:
    """Positions in a padded plane of `sizes` → positions in all of x [N, C, *spatial]."""
    coordinates = [place - back for place, back in zip(torch.unravel_index(places, sizes), shift, strict=True)]
    spatial = list(x.shape[2:])
    if node.get("storage_order", 0):
        coordinates, spatial = coordinates[::-1], spatial[::-1]
    flat = torch.zeros_like(places)
    for place, size in zip(coordinates, spatial, strict=True):
        flat = flat * size + place
    planes = torch.arange(x.shape[0] * x.shape[1], device=x.device).reshape([*x.shape[:2]] + [1] * len(spatial))
    return flat + planes * math.prod(spatial)


def max_unpool(node: Node, x: Tensor, places: Tensor, shape: list[int] | None = None) -> Tensor:
    """Put values back where MaxPool found them, zero elsewhere. `shape` may be larger: places are of the small one."""
    kernel = node.attributes["kernel_shape"]
    strides, pads = node.get("strides", [1] * len(kernel)), node.get("pads", [0] * 2 * len(kernel))
    small = [
        (size - 1) * strides[i] + kernel[i] - pads[i] - pads[i + len(kernel)] for i, size in enumerate(x.shape[2:])
    ]
    flat = x.new_zeros(math.prod([*x.shape[:2], *small])).scatter(0, places.reshape(-1), x.reshape(-1))
    made = flat.reshape(*x.shape[:2], *small)
    missing = [size - have for size, have in zip(shape[2:], small, strict=True)] if shape else [0]
    return F.pad(made, [size for end in reversed(missing) for size in (0, end)]) if any(missing) else made


def average_pool(node: Node, x: Tensor) -> Tensor:
    """The sum over a window divided by how many of its places count: those of x, or all."""
    window = window_of(node, x, node.attributes["kernel_shape"])
    pool, ceil = AVERAGE_POOL[len(window.kernel)], bool(node.get("ceil_mode", 0))
    counts_all = bool(node.get("count_include_pad", 0))
    if max(window.dilations) > 1:
        return _dilated_mean(window, x, counts_all=counts_all, ceil=ceil)
    if _is_even(window) and (counts_all or not any(window.before) or not ceil):
        made: Tensor = pool(x, window.kernel, window.strides, window.before, ceil, counts_all)
        return made
    ones = torch.ones_like(x[:1, :1])
    count = window.padded(ones, 1.0 if counts_all else 0.0)
    summed, counted = (pool(v, window.kernel, window.strides, 0, ceil) for v in (window.padded(x), count))
    return summed / counted


def _summed(window: Window, x: Tensor, kernel_conv: Tensor) -> Tensor:
    conv = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(window.kernel)]
    planes = x.reshape(-1, 1, *x.shape[2:])
    made = conv(planes, kernel_conv, None, window.strides, 0, window.dilations)
    return made.reshape(*x.shape[:2], *made.shape[2:])


def _dilated_mean(window: Window, x: Tensor, *, counts_all: bool, ceil: bool) -> Tensor:
    """By a convolution with ones; windows that begin within x but end beyond it are filled up where `ceil`."""
    ones = window.padded(torch.ones_like(x[:1, :1]), 1.0 if counts_all else 0.0)
    padded = window.padded(x)
    if ceil:
        missing: list[int] = []
        for size, k, s, d in zip(padded.shape[2:], window.kernel, window.strides, window.dilations, strict=True):
            missing = [0, -(size - d * (k - 1) - 1) % s, *missing]
        padded, ones = F.pad(padded, missing), F.pad(ones, missing)
    kernel = x.new_ones(1, 1, *window.kernel)
    return _summed(window, padded, kernel) / _summed(window, ones, kernel)


def lp_pool(node: Node, x: Tensor) -> Tensor:
    window, power = window_of(node, x, node.attributes["kernel_shape"]), node.get("p", 2)
    padded = window.padded(x.abs() ** power)
    if node.get("ceil_mode", 0):
        pads: list[int] = []
        for size, k, s, d in zip(padded.shape[2:], window.kernel, window.strides, window.dilations, strict=True):
            pads = [0, -(size - d * (k - 1) - 1) % s, *pads]
        padded = F.pad(padded, pads)
    return _summed(window, padded, x.new_ones(1, 1, *window.kernel)).pow(1 / power)


def _spatial(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.dim()))


def global_lp_pool(node: Node, x: Tensor) -> Tensor:
    made: Tensor = torch.linalg.vector_norm(x, node.get("p", 2), _spatial(x), keepdim=True)
    return made


POOLS = {
    "MaxPool": op(max_pool),
    "MaxUnpool": op(max_unpool, sizes=[2]),
    "AveragePool": op(average_pool),
    "LpPool": op(lp_pool),
    "GlobalAveragePool": op(lambda _, x: x.mean(_spatial(x), keepdim=True)),
    "GlobalMaxPool": op(lambda _, x: x.amax(_spatial(x), keepdim=True)),
    "GlobalLpPool": op(global_lp_pool),
}
