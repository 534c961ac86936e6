"""Ops that move, cut, join and cast values without computing."""

import math

import numpy as np
import torch
from onnx import helper
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.ops.node import Host, Node, Value, op

BEFORE_ALL = -(2**31) + 1
PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


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


def squeeze(_: Node, x: Tensor, axes: list[int] | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(axes)


def unsqueeze(_: Node, x: Tensor, axes: list[int]) -> Tensor:
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
            x = x.index_select(axis, torch.tensor(list(range(x.shape[axis])[cut]), dtype=torch.int64))
    return x


def gather(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.dim()
    size = x.shape[axis]
    flat = torch.where(indices < 0, indices + size, indices).reshape(-1)
    return x.index_select(axis, flat).reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def expand(_: Node, x: Tensor, shape: list[int]) -> Tensor:
    return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(shape)))


def pad(node: Node, x: Tensor, pads: list[int], value: Tensor | None = None, axes: list[int] | None = None) -> Tensor:
    axes = [axis % x.dim() for axis in axes] if axes else list(range(x.dim()))
    pairs = {axis: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    mode = PAD_MODES[node.get("mode", "constant")]
    first = 0 if mode == "constant" else 2  # the other modes of torch want the spatial axes only
    flat = [size for axis in reversed(range(first, x.dim())) for size in pairs.get(axis, (0, 0))]
    return F.pad(x, flat, mode, 0.0 if value is None else float(value)) if mode == "constant" else F.pad(x, flat, mode)


def cast(node: Node, x: Tensor) -> Tensor:
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(node.attributes["to"]))
    return x.to(torch.from_numpy(np.empty(0, dtype)).dtype)


def shape_of(node: Node, x: Value) -> Host:
    """Sizes are kept in numpy, whatever the value."""
    return np.array(list(x.shape)[node.get("start", 0) : node.get("end", None)], np.int64)


LAYOUT = {
    "Identity": op(lambda _, x: x, learned=[0]),
    "Cast": op(cast),
    "Shape": op(shape_of),
    "Reshape": op(reshape, sizes=[1], learned=[0]),
    "Flatten": op(flatten),
    "Transpose": op(transpose, learned=[0]),
    "Concat": op(concat),
    "Split": op(split, sizes=[1]),
    "Squeeze": op(squeeze, sizes=[1], learned=[0]),
    "Unsqueeze": op(unsqueeze, sizes=[1], learned=[0]),
    "Slice": op(slice_, sizes=[1, 2, 3, 4]),
    "Gather": op(gather, learned=[0], many=True),
    "Expand": op(expand, sizes=[1]),
    "Tile": op(lambda _, x, repeats: x.repeat(repeats), sizes=[1]),
    "Pad": op(pad, sizes=[1, 3]),
}
