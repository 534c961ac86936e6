"""Control flow: bodies are run by the same interpreter and see the values around them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workers.engine.graph.ops.node import Node, Op, op
from workers.engine.graph.ops.values import Value, as_ints, as_tensor

Body = Callable[[list[Value]], list[Value]]
"""A subgraph ready to be run on its inputs; what it reads from outside is already in it."""


def _is_true(value: Value) -> bool:
    return value is None or bool(as_ints(value)[0])


def if_(node: Node, condition: Value, **bodies: Body) -> tuple[Value, ...]:
    del node
    return tuple(bodies["then_branch" if _is_true(condition) else "else_branch"]([]))


def _stacked(values: list[Value], like: Any) -> Value:
    """The values of all turns, one after the other."""
    return torch.stack([as_tensor(v) for v in values]) if values else torch.zeros((0, *like))


def loop(node: Node, count: Value, condition: Value, *state: Value, body: Body) -> tuple[Value, ...]:
    """Until `count` turns are done or the condition that the body gives is false; without both, never ends."""
    turns = np.iinfo(np.int64).max if count is None else as_ints(count)[0]
    carried, scanned = list(state), [[] for _ in node.outputs[len(state) :]]  # type: list[Value], list[list[Value]]
    turn = 0
    while turn < turns and _is_true(condition):
        given = torch.tensor(True) if condition is None else condition  # noqa: FBT003
        condition, *made = body([torch.tensor(turn), given, *carried])
        carried = made[: len(state)]
        for values, value in zip(scanned, made[len(state) :], strict=True):
            values.append(value)
        turn += 1
    return (*carried, *(_stacked(values, ()) for values in scanned))


def _axes(node: Node, key: str, count: int) -> list[int]:
    return list(node.get(key, [0] * count))


def scan(node: Node, *given: Value, body: Body) -> tuple[Value, ...]:
    """Run the body over slices of the scanned inputs, carrying a state (from opset 9 on: no batch axis)."""
    count = node.attributes["num_scan_inputs"]
    state, inputs = list(given[: len(given) - count]), [as_tensor(v) for v in given[len(given) - count :]]
    ways, axes = _axes(node, "scan_input_directions", count), _axes(node, "scan_input_axes", count)
    slices = [_slices(x, axis, way) for x, axis, way in zip(inputs, axes, ways, strict=True)]
    outputs: list[list[Value]] = [[] for _ in node.outputs[len(state) :]]
    for turn in zip(*slices, strict=True):
        made = body([*state, *turn])
        state = made[: len(state)]
        for values, value in zip(outputs, made[len(state) :], strict=True):
            values.append(value)
    return (*state, *_gathered(node, outputs))


def _slices(x: Tensor, axis: int, backwards: int) -> list[Tensor]:
    slices = list(x.unbind(axis))
    return slices[::-1] if backwards else slices


def _gathered(node: Node, outputs: list[list[Value]]) -> list[Value]:
    ways = _axes(node, "scan_output_directions", len(outputs))
    axes = _axes(node, "scan_output_axes", len(outputs))
    return [
        torch.stack([as_tensor(v) for v in (values[::-1] if way else values)], axis)
        for values, axis, way in zip(outputs, axes, ways, strict=True)
    ]


def scan_batched(node: Node, lengths: Value, *given: Value, body: Body) -> tuple[Value, ...]:
    """Scan of opset 8: all of the above for each sample of a batch."""
    del lengths
    batch = len(as_tensor(given[0]))
    rows = [scan(node, *(as_tensor(value)[row] for value in given), body=body) for row in range(batch)]
    return tuple(torch.stack([as_tensor(v) for v in values]) for values in zip(*rows, strict=True))


def any_scan(node: Node, *given: Value, body: Body) -> tuple[Value, ...]:
    return (scan_batched if node.opset < 9 else scan)(node, *given, body=body)  # noqa: PLR2004


def sequence_map(_: Node, values: list[Value], *others: Value, body: Body) -> tuple[Value, ...]:
    """The body of each element; further sequences run along, tensors are the same for all."""
    columns = []
    for number, value in enumerate(values):
        columns.append(body([value, *(other[number] if isinstance(other, list) else other for other in others)]))
    return tuple(list(column) for column in zip(*columns, strict=True))


CONTROL: dict[str, Op] = {
    "If": op(if_, raw=None),
    "Loop": op(loop, raw=None),
    "Scan": op(any_scan, raw=None),
    "SequenceMap": op(sequence_map, raw=None),
}
