"""Normalizations, and other ops that look along an axis: what mixes channels keeps them."""

import numpy as np

from workers.engine.graph.channels.atoms import Atoms, carried
from workers.engine.graph.channels.sites import Role
from workers.engine.graph.channels.trace import Trace
from workers.engine.graph.ops.node import Node

PER_CHANNEL_OPSET = 21
"""From here on GroupNormalization has a scale and a bias per channel, before per group."""
SOFTMAX_ONE_AXIS_OPSET = 13
SPATIAL_FROM = 2


def _along_channels(trace: Trace, node: Node) -> Atoms | None:
    vector = trace.along(node.inputs[0], 1)
    if vector is None:
        atoms = trace.atoms(node.inputs[0])
        if atoms is not None and carried(atoms)[:1] == (1,):
            trace.ties.tie(atoms, _first(atoms))  # each index of axis 1 is treated as one
            return _first(atoms).reshape(-1)
        trace.refuse(node.inputs, f"'{node.name}' takes them in another order")
    return vector


def _first(atoms: Atoms) -> Atoms:
    for axis in carried(atoms)[1:]:
        atoms = atoms.take([0], axis)
    return atoms


def per_channel(trace: Trace, node: Node) -> None:
    """BatchNormalization and InstanceNormalization: each channel has its own statistics, scale and bias."""
    vector = _along_channels(trace, node)
    if vector is None:
        return
    rank = len(trace.shapes[node.inputs[0]])
    trace.put(node.outputs[0], vector.reshape([-1 if axis == 1 else 1 for axis in range(rank)]))
    for index, name in enumerate(node.inputs[1:], 1):
        if name in trace.graph.constants:
            trace.site(node, index, 0, vector, Role.VECTOR)
        else:
            trace.ties.fix(vector, f"the settings of '{node.name}' are computed")


def group(trace: Trace, node: Node) -> None:
    """GroupNormalization: whole groups go, so that those which stay have the statistics they had."""
    vector, groups = _along_channels(trace, node), node.get("num_groups", 1)
    if vector is None or len(vector) % groups:
        return
    grouped = vector.reshape(groups, -1)
    trace.ties.tie(grouped, grouped[:, :1])
    trace.count_attribute(node, "num_groups", grouped[:, 0])
    trace.put(node.outputs[0], trace.tensors[node.inputs[0]])
    own = vector if node.opset >= PER_CHANNEL_OPSET else grouped[:, 0]
    for index in (1, 2):
        trace.site(node, index, 0, own, Role.VECTOR)


def _mixes(trace: Trace, node: Node, axes: set[int], how: str) -> None:
    """Pass channels on, but keep them where the op looks across them."""
    atoms = trace.tensors[node.inputs[0]]
    if axes.intersection(carried(atoms)):
        trace.ties.fix(atoms, f"'{node.name}' {how}")
    trace.put(node.outputs[0], atoms)


def layer(trace: Trace, node: Node) -> None:
    """LayerNormalization over the axes from `axis` on."""
    rank = trace.tensors[node.inputs[0]].ndim
    _mixes(trace, node, set(range(node.get("axis", -1) % rank, rank)), "normalizes over all of them together")


def one_axis(trace: Trace, node: Node) -> None:
    """Softmax, LpNormalization, CumSum …: along `axis`."""
    rank = trace.tensors[node.inputs[0]].ndim
    from_axis = node.get("axis", -1 if node.opset >= SOFTMAX_ONE_AXIS_OPSET else 1) % rank
    last = from_axis + 1 if node.opset >= SOFTMAX_ONE_AXIS_OPSET else rank
    _mixes(trace, node, set(range(from_axis, last)), "compares them with each other")


def across(trace: Trace, node: Node) -> None:
    """LRN: along axis 1."""
    _mixes(trace, node, {1}, "compares neighbouring channels")


def pooling(trace: Trace, node: Node) -> None:
    """Windows over the axes behind the channels."""
    rank = trace.tensors[node.inputs[0]].ndim
    _mixes(trace, node, set(range(SPATIAL_FROM, rank)), "takes windows over them")


def reduction(trace: Trace, node: Node) -> None:
    """Over axes given as an input or an attribute; channels that are reduced over stay."""
    atoms = trace.tensors[node.inputs[0]]
    axes = trace.ints(node, 1) if len(node.inputs) > 1 and node.inputs[1] else node.get("axes", None)
    if node.op in {"ArgMax", "ArgMin"}:
        axes = [node.get("axis", 0)]
    if axes is None and len(node.inputs) > 1 and node.inputs[1]:
        trace.ties.fix(atoms, f"the axes of '{node.name}' are computed")
        return
    over = {axis % atoms.ndim for axis in axes} if axes else set(range(atoms.ndim))
    if not axes and node.get("noop_with_empty_axes", 0):
        over = set()
    if over.intersection(carried(atoms)):
        trace.ties.fix(atoms, f"'{node.name}' reduces all of them to one number")
        return
    if not node.get("keepdims", 1):
        atoms = np.squeeze(atoms, tuple(over))
    trace.put(node.outputs[0], atoms)
