"""What an op is given and how the table describes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from onnx import NodeProto, helper

from workers.engine.graph.graph import DEFAULT_DOMAINS, name_of
from workers.engine.graph.ops.values import Host, Value, as_ints, as_tensor

__all__ = ["Host", "Node", "Op", "Run", "Value", "as_ints", "as_tensor", "decode", "host_op", "op"]

Run = Callable[..., Value | tuple[Value, ...]]


@dataclass(frozen=True)
class Node:
    """An ONNX node, decoded once. Missing optional inputs are ''."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    opset: int

    def get(self, attribute: str, default: Any) -> Any:
        return self.attributes.get(attribute, default)


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def decode(node: NodeProto, opset: int) -> Node:
    """Read a node; ops of other domains get their domain as prefix."""
    op = node.op_type if node.domain in DEFAULT_DOMAINS else f"{node.domain}.{node.op_type}"
    attributes = {a.name: _decoded(helper.get_attribute_value(a)) for a in node.attribute}
    return Node(name_of(node), op, tuple(node.input), tuple(node.output), attributes, opset)


@dataclass(frozen=True)
class Op:
    """How to run an op type: `run(node, *inputs)` gives a value or a tuple of them.

    Inputs at `sizes` arrive as lists of Python ints, at `raw` (or all of them) as they are, all others as tensors,
    absent ones as None; a `host` op gets numpy for all. Float constants at `learned` are parameters (of more than one
    element, where `many`: single numbers in arithmetic are constants of a formula), at `state` buffers that `run` may
    update. What is learned after an op that only `moves` values is learned before it. No gradient passes an op that
    is not `smooth`, nor the inputs at `blind` of one that is. A `modal` op is told whether the graph is in training.
    """

    run: Run
    sizes: frozenset[int] = field(default_factory=frozenset)
    raw: frozenset[int] | None = field(default_factory=frozenset)
    learned: frozenset[int] = field(default_factory=frozenset)
    state: frozenset[int] = field(default_factory=frozenset)
    blind: frozenset[int] = field(default_factory=frozenset)
    many: bool = False
    moves: bool = False
    smooth: bool = True
    host: bool = False
    modal: bool = False

    def passes(self, index: int) -> bool:
        """Whether a gradient that arrives at the outputs goes on to this input."""
        return self.smooth and index not in self.sizes | self.state | self.blind


def op(
    run: Run,
    *,
    sizes: Sequence[int] = (),
    raw: Sequence[int] | None = (),
    learned: Sequence[int] = (),
    state: Sequence[int] = (),
    blind: Sequence[int] = (),
    many: bool = False,
    moves: bool = False,
    smooth: bool = True,
    modal: bool = False,
) -> Op:
    """A table entry, written shortly; `raw=None` leaves all inputs as they are."""
    return Op(
        run,
        sizes=frozenset(sizes),
        raw=None if raw is None else frozenset(raw),
        learned=frozenset(learned),
        state=frozenset(state),
        blind=frozenset(blind),
        many=many,
        moves=moves,
        smooth=smooth,
        modal=modal,
    )


def host_op(run: Run) -> Op:
    """An op that runs in numpy, whatever it is given."""
    return Op(run, smooth=False, host=True)
