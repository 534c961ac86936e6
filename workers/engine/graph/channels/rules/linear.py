"""Convolutions and matrix products: where channels begin and end."""

import numpy as np

from workers.engine.graph.channels.atoms import Atoms, carried
from workers.engine.graph.channels.sites import Role
from workers.engine.graph.channels.trace import Trace
from workers.engine.graph.ops.node import Node

MATRIX = 2


def _begin(trace: Trace, node: Node, length: int, axis: int, rank: int) -> Atoms:
    """New channels along an axis of the node's output."""
    atoms = trace.ties.new(length)
    trace.put(node.outputs[0], atoms.reshape([length if place == axis else 1 for place in range(rank)]))
    return atoms


def _is_weight(trace: Trace, name: str) -> bool:
    return name in trace.graph.constants and trace.graph.dtype(name).startswith("float")


def _ending(trace: Trace, node: Node, name: str, axis: int) -> Atoms | None:
    """The channels that end in this node along an axis; others that the tensor carries are refused."""
    vector = trace.along(name, axis)
    if vector is None:
        trace.refuse([name], f"'{node.name}' takes them in another order")
    return vector


def _bias(trace: Trace, node: Node, index: int, out: Atoms) -> None:
    """A bias along the last axis; one that is computed keeps the channels it is added to."""
    name = node.inputs[index] if index < len(node.inputs) else ""
    if not name:
        return
    if not _is_weight(trace, name):
        trace.ties.fix(out, f"the bias of '{node.name}' is computed")
        trace.refuse([name], f"they are the bias of '{node.name}'")
    elif (dims := trace.graph.constants[name].dims) and dims[-1] == len(out):
        trace.site(node, index, -1, out, Role.VECTOR)


def _whole_groups(trace: Trace, node: Node, source: Atoms | None, out: Atoms, group: int) -> None:
    """Of a grouped convolution whole groups go, with what they take in and what they make."""
    if source is None:
        trace.ties.fix(out, f"the inputs of '{node.name}', each of which has outputs of its own, must stay")
        return
    grouped = source.reshape(group, -1)
    trace.ties.tie(grouped, grouped[:, :1])
    trace.ties.tie(out.reshape(group, -1), grouped[:, :1])
    trace.count_attribute(node, "group", grouped[:, 0])


def _convolution(trace: Trace, node: Node, out_channels: int, out_axis: int, in_axis: int) -> None:
    source = _ending(trace, node, node.inputs[0], 1)
    rank = len(trace.graph.constants[node.inputs[1]].dims)
    out = _begin(trace, node, out_channels, 1, rank)
    group = node.get("group", 1)
    if group > 1:
        _whole_groups(trace, node, source, out, group)
    elif source is not None:
        trace.site(node, 1, in_axis, source, Role.IN)
    _bias(trace, node, 2, out)
    if group == 1 or out_axis == 0:
        trace.site(node, 1, out_axis, out, Role.OUT)
    elif source is not None:
        trace.site(node, 1, 0, source, Role.OUT)


def conv(trace: Trace, node: Node) -> None:
    """Kernel [out, in / group, *window]."""
    if not _is_weight(trace, node.inputs[1]):
        trace.refuse(node.inputs, f"the kernel of '{node.name}' is computed")
        return
    _convolution(trace, node, trace.graph.constants[node.inputs[1]].dims[0], 0, 1)


def conv_transpose(trace: Trace, node: Node) -> None:
    """Kernel [in, out / group, *window]; of a grouped one, whole groups of input rows go."""
    if not _is_weight(trace, node.inputs[1]):
        trace.refuse(node.inputs, f"the kernel of '{node.name}' is computed")
        return
    out_channels = trace.graph.constants[node.inputs[1]].dims[1] * node.get("group", 1)
    _convolution(trace, node, out_channels, 1, 0)


def gemm(trace: Trace, node: Node) -> None:
    if node.get("transA", 0) or not _is_weight(trace, node.inputs[1]):
        trace.refuse(node.inputs, f"'{node.name}' multiplies two computed matrices")
        return
    in_axis = 1 if node.get("transB", 0) else 0
    source = _ending(trace, node, node.inputs[0], 1)
    if source is not None:
        trace.site(node, 1, in_axis, source, Role.IN)
    out = _begin(trace, node, trace.graph.constants[node.inputs[1]].dims[1 - in_axis], 1, MATRIX)
    trace.site(node, 1, 1 - in_axis, out, Role.OUT)
    _bias(trace, node, 2, out)


def matmul(trace: Trace, node: Node) -> None:
    left, right = node.inputs
    if _is_weight(trace, right) and len(trace.graph.constants[right].dims) == MATRIX:
        _times_weight(trace, node, 1, -1)
    elif _is_weight(trace, left) and len(trace.graph.constants[left].dims) == MATRIX:
        _times_weight(trace, node, 0, -2)
    elif left in trace.graph.constants or right in trace.graph.constants:
        trace.refuse(node.inputs, f"'{node.name}' has a constant that is no matrix")
    else:
        _product(trace, node)


def _times_weight(trace: Trace, node: Node, index: int, axis: int) -> None:
    """The matrix at input `index`; the other factor is summed over its `axis` from the end."""
    data = node.inputs[1 - index]
    shape, out_shape = trace.shapes.get(data), trace.shapes.get(node.outputs[0])
    if shape is None or out_shape is None or len(shape) != len(out_shape):
        trace.refuse([data], f"the rank of '{data}' is not known")
        return
    atoms, contracted = trace.atoms(data), trace.along(data, axis)
    in_axis = 0 if index == 1 else 1
    length = trace.graph.constants[node.inputs[index]].dims[1 - in_axis]
    if contracted is None and atoms is not None and (axis % atoms.ndim) not in carried(atoms):
        trace.put(node.outputs[0], atoms)  # channels along an axis that the product leaves alone
        trace.site(node, index, 1 - in_axis, _rigid(trace, node, length), Role.OUT)
        return
    if contracted is None:
        trace.refuse([data], f"'{node.name}' takes them in another order")
    else:
        trace.site(node, index, in_axis, contracted, Role.IN)
    out = _begin(trace, node, length, axis % len(out_shape), len(out_shape))
    trace.site(node, index, 1 - in_axis, out, Role.OUT)


def _rigid(trace: Trace, node: Node, length: int) -> Atoms:
    atoms = trace.ties.new(length)
    trace.ties.fix(atoms, f"'{node.name}' is applied along another axis")
    return atoms


def _aligned(atoms: Atoms | None, rank: int) -> Atoms | None:
    return None if atoms is None else atoms.reshape((1,) * (rank - atoms.ndim) + atoms.shape)


def _product(trace: Trace, node: Node) -> None:
    """Of two computed matrices, as in attention."""
    shapes = [trace.shapes.get(name) for name in node.inputs]
    if any(shape is None or len(shape) < MATRIX for shape in shapes):
        trace.refuse(node.inputs, f"the shapes in '{node.name}' are not known")
        return
    rank = max(len(shape) for shape in shapes if shape is not None)
    left, right = (_aligned(trace.atoms(name), rank) for name in node.inputs)
    batch = {axis for atoms in (left, right) if atoms is not None for axis in carried(atoms) if axis < rank - MATRIX}
    if batch:
        _heads(trace, node, left, right, batch)
    else:
        _single(trace, node, left, right, rank)


def _heads(trace: Trace, node: Node, left: Atoms | None, right: Atoms | None, batch: set[int]) -> None:
    """Each head has a product of its own: all that a head has goes with it."""
    (axis, *more), sides = batch, (left, right)
    if more or left is None or right is None or left.shape[axis] != right.shape[axis]:
        trace.refuse(node.inputs, f"the heads of '{node.name}' are not the same on both sides")
        return
    first = [_first_along(side, axis) for side in sides if side is not None]
    for side, heads in zip(sides, first, strict=True):
        if side is not None:
            trace.ties.tie(side, heads)
    trace.ties.tie(*first)
    trace.heads.append(first[0].reshape(-1))
    trace.put(node.outputs[0], first[0])


def _first_along(atoms: Atoms, axis: int) -> Atoms:
    """The first atom at every index of an axis."""
    place = [slice(None) if i == axis else slice(0, 1) for i in range(atoms.ndim)]
    return np.asarray(atoms[tuple(place)])


def _single(trace: Trace, node: Node, left: Atoms | None, right: Atoms | None, rank: int) -> None:
    axes = [() if side is None else carried(side) for side in (left, right)]
    summed = [(rank - 1,), (rank - 2,)]
    if left is not None and right is not None and axes == summed:
        trace.ties.tie(left.reshape(-1), right.reshape(-1))
        return
    kept = [side for side, have, last in zip((left, right), axes, summed, strict=True) if have and have != last]
    if len(kept) == 1 and all(len(have) <= 1 and have != last for have, last in zip(axes, summed, strict=True)):
        trace.put(node.outputs[0], np.asarray(kept[0]))
    else:
        trace.refuse(node.inputs, f"'{node.name}' multiplies them with what cannot be cut")
