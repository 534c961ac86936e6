"""Gather: rows of an embedding, or chosen channels."""

import numpy as np

from workers.engine.graph.channels.atoms import carried
from workers.engine.graph.channels.sites import Remap, Role
from workers.engine.graph.channels.trace import Trace
from workers.engine.graph.ops.node import Node

MATRIX = 2


def gather(trace: Trace, node: Node) -> None:
    data, indices = node.inputs[:2]
    if data in trace.graph.constants:
        _embedding(trace, node)
    elif data in trace.tensors and indices in trace.graph.constants:
        _chosen(trace, node)
    elif data in trace.tensors:
        _computed(trace, node)


def _embedding(trace: Trace, node: Node) -> None:
    """The width of a table [rows, width] begins channels."""
    tensor, made = trace.graph.constants[node.inputs[0]], trace.shapes.get(node.outputs[0])
    is_float = trace.graph.dtype(node.inputs[0]).startswith("float")
    if node.inputs[1] in trace.graph.constants or not is_float or len(tensor.dims) != MATRIX or made is None:
        return
    if node.get("axis", 0) != 0:
        return
    atoms = trace.ties.new(tensor.dims[1])
    trace.put(node.outputs[0], atoms.reshape((1,) * (len(made) - 1) + (-1,)))
    trace.site(node, 0, 1, atoms, Role.OUT)


def _chosen(trace: Trace, node: Node) -> None:
    """By constant numbers, which must go on to mean the same channels."""
    data, indices = node.inputs[:2]
    atoms = trace.tensors[data]
    axis, chosen = node.get("axis", 0) % atoms.ndim, np.asarray(trace.graph.weight(indices), np.int64)
    if axis not in carried(atoms):
        shape = (*atoms.shape[:axis], *(1,) * chosen.ndim, *atoms.shape[axis + 1 :])
        trace.put(node.outputs[0], atoms.reshape(shape))
        return
    if chosen.ndim == 1:
        trace.remaps.append(Remap(data, axis, indices))
    else:
        trace.whole[data].add(axis)
    trace.put(node.outputs[0], np.take(atoms, chosen, axis))


def _computed(trace: Trace, node: Node) -> None:
    data, indices = node.inputs[:2]
    atoms, index_shape = trace.tensors[data], trace.shapes.get(indices)
    axis = node.get("axis", 0) % atoms.ndim
    trace.refuse([indices], f"they are indices of '{node.name}'")
    if index_shape is None or axis in carried(atoms):
        trace.ties.fix(atoms, f"'{node.name}' chooses among them at run time")
        return
    trace.put(node.outputs[0], atoms.reshape((*atoms.shape[:axis], *(1,) * len(index_shape), *atoms.shape[axis + 1 :])))
