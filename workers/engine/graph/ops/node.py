"""What an op is given and how the table describes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import NodeProto, helper
from torch import Tensor

from workers.engine.graph.graph import DEFAULT_DOMAINS, name_of

Host = NDArray[Any]
"""A value kept in numpy: sizes, axes and constants that are not learned. Arithmetic on them costs no torch op."""
Value = Tensor | Host


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

    Inputs at `sizes` arrive as lists of Python ints, all others as tensors, absent ones as None. Float constants at
    `learned` are parameters (of more than one element, where `many`: single numbers in arithmetic are constants of
    a formula), at `state` buffers that `run` may update. A `modal` op is told whether the graph is in training.
    """

    run: Callable[..., Value | tuple[Value, ...]]
    sizes: frozenset[int] = field(default_factory=frozenset)
    learned: frozenset[int] = field(default_factory=frozenset)
    state: frozenset[int] = field(default_factory=frozenset)
    many: bool = False
    modal: bool = False


def op(
    run: Callable[..., Value | tuple[Value, ...]],
    *,
    sizes: Sequence[int] = (),
    learned: Sequence[int] = (),
    state: Sequence[int] = (),
    many: bool = False,
    modal: bool = False,
) -> Op:
    """A table entry, written shortly."""
    return Op(run, frozenset(sizes), frozenset(learned), frozenset(state), many, modal)


def as_ints(value: Value) -> list[int]:
    """A 0- or 1-dimensional integer value as Python ints."""
    return [int(v) for v in value.reshape(-1).tolist()]


def as_tensor(value: Value) -> Tensor:
    return value if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape))
