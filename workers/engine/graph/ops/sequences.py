"""Sequences and optionals: lists of values, and values that may be absent."""

import numpy as np
import torch
from torch import Tensor

from workers.engine.graph.ops.node import Host, Node, Op, op
from workers.engine.graph.ops.values import Value, as_ints, as_tensor


def _position(where: Value, default: int) -> int:
    return default if where is None else as_ints(where)[0]


def insert(_: Node, values: list[Value], value: Value, where: Value = None) -> Value:
    at = _position(where, len(values))
    at = at + len(values) if at < 0 else at
    return [*values[:at], value, *values[at:]]


def erase(_: Node, values: list[Value], where: Value = None) -> Value:
    at = _position(where, -1) % len(values)
    return [*values[:at], *values[at + 1 :]]


def split(node: Node, x: Value, sizes: Value = None) -> Value:
    """In pieces of the sizes given (a single number is the size of each), or of 1, without the axis unless kept."""
    tensor, axis = as_tensor(x), node.get("axis", 0)
    if sizes is None:
        pieces = torch.split(tensor, 1, axis)
        return list(pieces) if node.get("keepdims", 1) else [piece.squeeze(axis) for piece in pieces]
    given = as_ints(sizes)
    is_one_number = len(as_tensor(sizes).shape) == 0
    return list(torch.split(tensor, given[0] if is_one_number else given, axis))


def join(node: Node, values: list[Value]) -> Tensor:
    tensors, axis = [as_tensor(value) for value in values], node.attributes["axis"]
    return torch.stack(tensors, axis) if node.get("new_axis", 0) else torch.cat(tensors, axis)


def has_element(_: Node, value: Value = None) -> Host:
    return np.array(value is not None)


def get_element(_: Node, value: Value) -> Value:
    if value is None:
        raise ValueError("an optional without a value was read")
    return value


def empty(_: Node) -> Value:
    return []


SEQUENCES: dict[str, Op] = {
    "SequenceEmpty": op(empty, raw=None),
    "SequenceConstruct": op(lambda _, *values: list(values), raw=None),
    "SequenceAt": op(lambda _, values, where: values[as_ints(where)[0]], raw=None),
    "SequenceInsert": op(insert, raw=None),
    "SequenceErase": op(erase, raw=None),
    "SequenceLength": op(lambda _, values: np.array(len(values), np.int64), raw=None, smooth=False),
    "SplitToSequence": op(split, raw=None),
    "ConcatFromSequence": op(join, raw=None),
    "Optional": op(lambda _, value=None: value, raw=None),
    "OptionalHasElement": op(has_element, raw=None, smooth=False),
    "OptionalGetElement": op(get_element, raw=None),
}
