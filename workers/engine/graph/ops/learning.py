"""Which constants of a graph can be learned: those that a gradient of the outputs reaches."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np
from onnx import GraphProto

from workers.engine.graph.ops.node import Node, Op, decode
from workers.engine.graph.ops.program import bodies_of, captured
from workers.engine.graph.ops.table import OPS
from workers.engine.graph.ops.values import Host

Step = tuple[Node, Op]
MASKED = -1e4
"""A constant with values as low as this is added to logits to mask some; it is not learned."""


@dataclass
class Reach:
    """What a walk from the outputs backwards found."""

    flowing: set[str]
    """Tensors that have a gradient."""
    wanted: dict[str, bool] = field(default_factory=dict)
    """Tensors whose values are learned, and whether only those of more than one element."""
    blocking: list[Node] = field(default_factory=list)
    """Nodes that no gradient passes though one arrives."""


def reach(steps: Sequence[Step], outputs: Iterable[str], *, through_all: bool = False) -> Reach:
    """Follow the gradient from the outputs; `through_all` also through ops that let none pass."""
    found = Reach(set(outputs))
    for node, op in reversed(steps):
        if not found.flowing.intersection(node.outputs):
            continue
        if not (op.smooth or through_all):
            found.blocking.append(node)
            continue
        for index, name in enumerate(node.inputs):
            if name and (through_all or op.passes(index)):
                _arrive(found, node, op, index, name)
        for body in bodies_of(node).values():
            _look_around(found, node, body, through_all=through_all)
    return found


def _within(node: Node, body: GraphProto) -> list[Step]:
    return [(inner, OPS[inner.op]) for inner in (decode(proto, node.opset) for proto in body.node)]


def _look_around(found: Reach, node: Node, body: GraphProto, *, through_all: bool) -> None:
    """What a gradient that arrives at a body reaches of the values around it."""
    inner = reach(_within(node, body), (value.name for value in body.output), through_all=through_all)
    found.blocking.extend(inner.blocking)
    for name in captured(body):
        if name in inner.flowing:
            found.flowing.add(name)
        if name in inner.wanted:
            found.wanted[name] = found.wanted.get(name, True) and inner.wanted[name]


def with_inner(steps: Iterable[Step]) -> Iterator[Step]:
    """The steps and those of their bodies."""
    for node, op in steps:
        yield node, op
        for body in bodies_of(node).values():
            yield from with_inner(_within(node, body))


def _arrive(found: Reach, node: Node, op: Op, index: int, name: str) -> None:
    found.flowing.add(name)
    if index in op.learned:
        found.wanted[name] = found.wanted.get(name, True) and op.many
    behind = [found.wanted[output] for output in node.outputs if output in found.wanted]
    if op.moves and behind:
        found.wanted[name] = found.wanted.get(name, True) and (op.many or all(behind))


def is_weight(value: Host, *, many: bool) -> bool:
    """Whether a float constant is learned where one is wanted: no single number of a formula, and no mask."""
    if many and value.size <= 1:
        return False
    numbers = value.astype(np.float64)
    return bool(np.isfinite(numbers).all() and (numbers > MASKED).all())


def used_constants(steps: Sequence[Step], constants: Mapping[str, object]) -> list[str]:
    """The names of constants in the order they are first read, also within bodies."""
    read = dict.fromkeys(name for node, _ in with_inner(steps) for name in node.inputs)
    read |= dict.fromkeys(n for node, _ in steps for body in bodies_of(node).values() for n in captured(body))
    return [name for name in read if name in constants]


def states(steps: Sequence[Step], constants: Mapping[str, object]) -> AbstractSet[str]:
    """Constants that a run in training mode updates."""
    return {
        node.inputs[index]
        for node, op in with_inner(steps)
        for index in op.state
        if index < len(node.inputs) and node.inputs[index] in constants
    }
