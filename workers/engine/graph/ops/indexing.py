"""Ops that pick values by position, or put them there."""

import numpy as np
import torch
from onnx import helper
from torch import Tensor

from workers.engine.graph.ops.node import Host, Node, host_op, op

REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def wrapped(indices: Tensor, size: int) -> Tensor:
    """Indices below zero count from the end."""
    indices = indices.long()
    return torch.where(indices < 0, indices + size, indices)


def gather(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.dim()
    if indices.dim() == 0 and indices.device.type == "cpu":
        return x.select(axis, int(indices))  # a view, whose gradient is put in place instead of being scattered
    flat = wrapped(indices, x.shape[axis]).reshape(-1)
    return x.index_select(axis, flat).reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def gather_elements(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0)
    return x.gather(axis, wrapped(indices, x.shape[axis]))


def _places(indices: Tensor, shape: torch.Size, batch: int) -> tuple[Tensor, ...]:
    """The last axis of `indices` points into x after its `batch` leading axes: as one index per axis of x."""
    lead = []
    for axis in range(batch):
        view = [1] * (indices.dim() - 1)
        view[axis] = shape[axis]
        lead.append(torch.arange(shape[axis], device=indices.device).reshape(view))
    own = [wrapped(index, shape[batch + i]) for i, index in enumerate(indices.unbind(-1))]
    return (*lead, *own)


def gather_nd(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    return x[_places(indices, x.shape, node.get("batch_dims", 0))]


def scatter_nd(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    places = _places(indices, x.shape, 0)
    how = node.get("reduction", "none")
    if how == "none":
        return x.index_put(places, updates)
    inner = x.shape[indices.shape[-1] :]
    strides = np.cumprod([1, *reversed(x.shape[: indices.shape[-1]])])[-2::-1]
    rows = sum(
        (place * int(stride) for place, stride in zip(places, strides, strict=True)), torch.zeros_like(places[0])
    )
    flat, new = x.reshape(-1, inner.numel()), updates.reshape(-1, inner.numel())
    where = rows.reshape(-1, 1).expand_as(new)
    return flat.scatter_reduce(0, where, new, REDUCE[how]).reshape(x.shape)


def scatter_elements(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    axis, how = node.get("axis", 0), node.get("reduction", "none")
    places = wrapped(indices, x.shape[axis])
    return x.scatter(axis, places, updates) if how == "none" else x.scatter_reduce(axis, places, updates, REDUCE[how])


def tensor_scatter(node: Node, cache: Tensor, update: Tensor, starts: Tensor | None = None) -> Tensor:
    """Write `update` into each row of a cache along `axis`, from that row's start on."""
    axis, size = node.get("axis", -2) % cache.dim(), cache.shape[node.get("axis", -2)]
    length = update.shape[axis]
    first = torch.zeros(cache.shape[0], dtype=torch.int64) if starts is None else starts
    places = first.reshape(-1, 1) + torch.arange(length, device=first.device)
    places = places % size if node.get("mode", "linear") == "circular" else places
    view = [1] * cache.dim()
    view[0], view[axis] = cache.shape[0], length
    return cache.scatter(axis, places.reshape(view).expand_as(update), update)


def one_hot(node: Node, indices: Tensor, depth: list[int], values: Tensor) -> Tensor:
    axis, (count,) = node.get("axis", -1), depth
    off, on = values.unbind(0)
    rank = indices.dim() + 1
    places = indices.long().remainder(count).unsqueeze(axis)
    outside = ((indices < -count) | (indices >= count)).unsqueeze(axis)
    steps = torch.arange(count, device=indices.device).reshape([-1 if i == axis % rank else 1 for i in range(rank)])
    return torch.where((places == steps) & ~outside, on, off)


def top_k(node: Node, x: Tensor, count: list[int]) -> tuple[Tensor, Tensor]:
    """Of equal values the first ones: hence a stable sort and not torch.topk."""
    axis = node.get("axis", -1)
    values, indices = torch.sort(x, dim=axis, descending=bool(node.get("largest", 1)), stable=True)
    return values.narrow(axis, 0, count[0]), indices.narrow(axis, 0, count[0])


def trilu(node: Node, x: Tensor, diagonal: list[int] | None = None) -> Tensor:
    offset = diagonal[0] if diagonal else 0
    return x.triu(offset) if node.get("upper", 1) else x.tril(offset)


def compress(node: Node, x: Tensor, condition: Tensor) -> Tensor:
    axis = node.get("axis", None)
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    return x.index_select(axis, condition.nonzero().reshape(-1))


def reverse_sequence(node: Node, x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse the first `lengths[b]` steps of each row b; the rest stays."""
    batch, time = node.get("batch_axis", 1), node.get("time_axis", 0)
    moved = x.movedim((batch, time), (0, 1))
    steps = torch.arange(moved.shape[1], device=x.device)
    back = lengths.long().reshape(-1, 1) - 1 - steps
    places = torch.where(back >= 0, back, steps)
    rows = torch.arange(moved.shape[0], device=x.device).reshape(-1, 1)
    return moved[rows, places].movedim((0, 1), (batch, time))


def unique(node: Node, x: Host) -> tuple[Host, ...]:
    axis = node.get("axis", None)
    values, first, inverse, counts = np.unique(x, True, True, True, axis=axis)  # noqa: FBT003 - all it can tell
    inverse = inverse.reshape(-1)
    if not node.get("sorted", 1):  # in the order of their first appearance
        order = np.argsort(first)
        rank = np.argsort(order)
        values, first, counts = np.take(values, order, axis=axis or 0), first[order], counts[order]
        inverse = rank[inverse]
    return values, *(v.astype(np.int64) for v in (first, inverse, counts))


def eye_like(node: Node, x: Host) -> Host:
    dtype = helper.tensor_dtype_to_np_dtype(node.attributes["dtype"]) if "dtype" in node.attributes else x.dtype
    rows, columns = x.shape
    return np.asarray(np.eye(rows, columns, k=int(node.get("k", 0))), dtype)


INDEXING = {
    "Gather": op(gather, learned=[0], many=True, moves=True),
    "GatherElements": op(gather_elements, moves=True),
    "GatherND": op(gather_nd, learned=[0], many=True, moves=True),
    "Scatter": op(scatter_elements),
    "ScatterElements": op(scatter_elements),
    "ScatterND": op(scatter_nd),
    "TensorScatter": op(tensor_scatter),
    "OneHot": op(one_hot, sizes=[1], smooth=False),
    "TopK": op(top_k, sizes=[1]),
    "Trilu": op(trilu, sizes=[1]),
    "Compress": op(compress),
    "ReverseSequence": op(reverse_sequence),
    "NonZero": op(lambda _, x: x.nonzero().T.contiguous() if x.dim() else x.reshape(1).nonzero().T, smooth=False),
    "Unique": host_op(unique),
    "EyeLike": host_op(eye_like),
}
