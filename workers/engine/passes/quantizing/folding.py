"""Multiplying a tensor by a constant per channel without a node for it: in the constants of what makes the tensor."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from workers.engine.graph.graph import Graph, attribute, name_of
from workers.engine.graph.readers import is_read_once, seen_elsewhere

NORMALIZATIONS = frozenset({"LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization"})
LINEAR = frozenset({"Gemm", "MatMul"})
PASSING = frozenset({"Relu", "LeakyRelu", "Identity"})
"""f(sx) = s·f(x) for s > 0."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """A constant to multiply along an axis: an input of a node. `inverse` where it divides."""

    node: NodeProto
    index: int
    axis: int = -1
    inverse: bool = False


def places_for_factor(graph: Graph, tensor: str, readers: Collection[str], channels: int) -> list[Place]:
    """The constants that make up a tensor [..., channels] which only the nodes named `readers` read; none if it is not
    so simple. Multiplying each by positive factors multiplies the tensor.
    """
    return (_places(graph, tensor, channels) or []) if _only_for(graph, tensor, readers) else []


def fold_factor(graph: Graph, places: list[Place], factor: Floats) -> str:
    """Multiply the constants in place. Returns the name of the first node, in the order they run, that holds some."""
    for place in places:
        _multiply(graph, place, factor)
    graph.reindex()
    return name_of(places[-1].node)


def _only_for(graph: Graph, tensor: str, readers: Collection[str]) -> bool:
    return tensor not in seen_elsewhere(graph) and {name_of(node) for node in graph.consumers(tensor)} <= set(readers)


def _places(graph: Graph, tensor: str, channels: int) -> list[Place] | None:
    """The constants that make up a tensor, and must all be multiplied; None if it is not so simple."""
    node = graph.producer(tensor)
    if node is None:
        return None
    if node.op_type in NORMALIZATIONS:
        return _all_fit(graph, [Place(node, index) for index in range(1, len(node.input))], channels)
    if node.op_type in LINEAR:
        return _linear(graph, node, channels)
    if node.op_type in PASSING:
        return _behind(graph, node, 0, channels)
    if node.op_type in ("Mul", "Div", "Add", "Sub"):
        return _arithmetic(graph, node, channels)
    return None


def _behind(graph: Graph, node: NodeProto, index: int, channels: int) -> list[Place] | None:
    """The places of what a node reads, if nobody else reads it."""
    return _places(graph, node.input[index], channels) if _only_for(graph, node.input[index], [name_of(node)]) else None


def _linear(graph: Graph, node: NodeProto, channels: int) -> list[Place] | None:
    weight = node.input[1]
    if weight not in graph.constants or len(graph.constants[weight].dims) != 2:  # noqa: PLR2004 - a matrix
        return None
    axis = 0 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 1
    if graph.constants[weight].dims[axis] != channels or graph.dtype(weight) != "float32":
        return None
    bias = [Place(node, 2)] if len(node.input) > 2 and node.input[2] else []  # noqa: PLR2004 - Gemm's third
    fitting = _all_fit(graph, bias, channels)
    return None if fitting is None else [*fitting, Place(node, 1, axis)]


def _arithmetic(graph: Graph, node: NodeProto, channels: int) -> list[Place] | None:
    constants = [index for index in (0, 1) if node.input[index] in graph.constants]
    if node.op_type in ("Add", "Sub"):
        own = _all_fit(graph, [Place(node, index) for index in constants], channels) if constants else None
        rest = _behind(graph, node, 1 - constants[0], channels) if own and len(constants) == 1 else None
        return None if own is None or rest is None else [*own, *rest]
    if node.op_type == "Div":
        return _all_fit(graph, [Place(node, 1, inverse=True)], channels) if constants == [1] else None
    if constants:
        return _all_fit(graph, [Place(node, constants[0])], channels)
    found = (_behind(graph, node, index, channels) for index in (1, 0) if node.input[0] != node.input[1])
    return next(filter(None, found), None)


def _all_fit(graph: Graph, places: list[Place], channels: int) -> list[Place] | None:
    """The places, if each holds float32 constants with the channels along its last axis, or one number for all."""
    for place in places:
        tensor = place.node.input[place.index]
        if tensor and (tensor not in graph.constants or graph.dtype(tensor) != "float32"):
            return None
        if tensor and [*graph.constants[tensor].dims][-1:] not in ([], [1], [channels]):
            return None
    return places


def _multiply(graph: Graph, place: Place, factor: Floats) -> None:
    """A constant that others read too is copied first."""
    tensor = place.node.input[place.index]
    if not tensor:
        return
    old = np.asarray(graph.weight(tensor), np.float32)
    along = factor.reshape(-1, 1) if place.axis == 0 else factor
    new = np.asarray(old / along if place.inverse else old * along, np.float32)
    if is_read_once(graph, tensor):
        graph.set_weight(tensor, new)
        return
    own = f"{name_of(place.node)}_own_{place.index}"
    graph.model.graph.initializer.append(numpy_helper.from_array(new, own))
    place.node.input[place.index] = own
    graph.reindex()
