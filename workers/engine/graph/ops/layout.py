"""Ops that move, cut, join and cast values without computing."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.ops.node import Host, Node, Value, op

BEFORE_ALL = -(2**31) + 1


def target_shape(node: Node, shape: tuple[int, ...], asked: list[int]) -> list[int]:
    """Of a Reshape: 0 copies the input's size (unless `allowzero`), -1 takes what is left."""
    if node.get("allowzero", 0):
        return asked
    return [shape[axis] if size == 0 else size for axis, size in enumerate(asked)]


def reshape(node: Node, x: Tensor, asked: list[int]) -> Tensor:
    return x.reshape(target_shape(node, tuple(x.shape), asked))


def flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


def transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(node.get("perm", list(reversed(range(x.dim())))))


def concat(node: Node, *values: Tensor) -> Tensor:
    return torch.cat(values, node.attributes["axis"])


def _bounds(size: int, parts: int) -> list[int]:
    """Where to cut an axis in equal parts, the last perhaps smaller."""
    each = -(-size // parts)
    return [min(each * number, size) for number in range(1, parts)]


def split(node: Node, x: Tensor, sizes: list[int] | None = None) -> tuple[Tensor, ...]:
    axis = node.get("axis", 0)
    if sizes is not None:
        return torch.split_with_sizes(x, sizes, axis)
    return torch.tensor_split(x, _bounds(x.shape[axis], node.get("num_outputs", len(node.outputs))), axis)


def squeeze(node: Node, x: Tensor, axes: list[int] | None = None) -> Tensor:
    axes = node.get("axes", None) if axes is None else axes  # an attribute before opset 13
    return x.squeeze() if axes is None else x.squeeze(axes)


def unsqueeze(node: Node, x: Tensor, axes: list[int] | None = None) -> Tensor:
    axes = node.attributes["axes"] if axes is None else axes
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def cut_of(start: int, end: int, step: int) -> slice:
    """A Slice along one axis; ONNX writes "beyond the beginning" as a large negative end, Python as None."""
    return slice(start, None if step < 0 and end <= BEFORE_ALL else end, step)


def slice_(
    _: Node,
    x: Tensor,
    starts: list[int],
    ends: list[int],
    axes: list[int] | None = None,
    steps: list[int] | None = None,
) -> Tensor:
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = axes[number] if axes else number
        cut = cut_of(start, end, steps[number] if steps else 1)
        if cut.step > 0:
            x = x[(slice(None),) * (axis % x.dim()) + (cut,)]
        else:  # torch takes no step backwards
            x = x.index_select(axis, torch.tensor(list(range(x.shape[axis])[cut]), dtype=torch.int64, device=x.device))
    return x


def expand(_: Node, x: Tensor, shape: list[int]) -> Tensor:
    return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(shape)))


def _padded(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    """Padding by repeating what is there: every mode is an order of the positions along the axis."""
    places = np.arange(x.shape[axis])[max(-before, 0) : x.shape[axis] - max(-after, 0)]
    places = np.pad(places, (max(before, 0), max(after, 0)), mode)  # type: ignore[call-overload]
    return x.index_select(axis, torch.from_numpy(places).to(x.device))


def pad(node: Node, x: Tensor, pads: list[int], value: Tensor | None = None, axes: list[int] | None = None) -> Tensor:
    axes = [axis % x.dim() for axis in axes] if axes else list(range(x.dim()))
    pairs = {axis: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    mode = node.get("mode", "constant")
    if mode == "constant":
        flat = [size for axis in reversed(range(x.dim())) for size in pairs.get(axis, (0, 0))]
        return F.pad(x, flat, mode, 0 if value is None else value.item())
    for axis, (before, after) in pairs.items():
        x = _padded(x, axis, before, after, mode) if before or after else x
    return x


def depth_to_space(node: Node, x: Tensor) -> Tensor:
    """[N, C·b², H, W] → [N, C, H·b, W·b]; in mode DCR the block is the outer part of the channels, in CRD the inner."""
    size, (n, c, h, w) = node.attributes["blocksize"], x.shape
    if node.get("mode", "DCR") == "DCR":
        split = x.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        split = x.reshape(n, c // size**2, size, size, h, w).permute(0, 1, 4, 2, 5, 3)
    return split.reshape(n, c // size**2, h * size, w * size)


def space_to_depth(node: Node, x: Tensor) -> Tensor:
    """[N, C, H·b, W·b] → [N, C·b², H, W], the inverse of DepthToSpace of the same mode."""
    size, (n, c, h, w) = node.attributes["blocksize"], x.shape
    split = x.reshape(n, c, h // size, size, w // size, size)
    order = (0, 3, 5, 1, 2, 4) if node.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return split.permute(order).reshape(n, c * size**2, h // size, w // size)


def _sizes(x: Value) -> list[int]:
    """The checker has seen to it that these ops are given tensors."""
    return [] if x is None or isinstance(x, list) else list(x.shape)


def shape_of(node: Node, x: Value) -> Host:
    """Sizes are kept in numpy, whatever the value."""
    return np.array(_sizes(x)[node.get("start", 0) : node.get("end", None)], np.int64)


def size_of(_: Node, x: Value) -> Host:
    return np.array(math.prod(_sizes(x)), np.int64)


LAYOUT = {
    "Identity": op(lambda _, x: x, raw=None, moves=True),
    "Shape": op(shape_of, raw=None, smooth=False),
    "Size": op(size_of, raw=None, smooth=False),
    "Reshape": op(reshape, sizes=[1], moves=True),
    "Flatten": op(flatten, moves=True),
    "Transpose": op(transpose, moves=True),
    "Concat": op(concat, moves=True),
    "Split": op(split, sizes=[1], moves=True),
    "Squeeze": op(squeeze, sizes=[1], moves=True),
    "Unsqueeze": op(unsqueeze, sizes=[1], moves=True),
    "Slice": op(slice_, sizes=[1, 2, 3, 4], moves=True),
    "Expand": op(expand, sizes=[1], moves=True),
    "Tile": op(lambda _, x, repeats: x.repeat(repeats), sizes=[1], moves=True),
    "Pad": op(pad, sizes=[1, 3], blind=[2]),
    "DepthToSpace": op(depth_to_space),
    "SpaceToDepth": op(space_to_depth),
}
