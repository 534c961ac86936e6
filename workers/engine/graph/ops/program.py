"""A graph made ready to run: every lookup is done once, so that a run only computes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from onnx import GraphProto, NodeProto, numpy_helper
from torch import Tensor

from workers.engine.graph.ops.host import HOST, dense
from workers.engine.graph.ops.node import Node, Op, decode
from workers.engine.graph.ops.setting import Setting
from workers.engine.graph.ops.table import OPS
from workers.engine.graph.ops.values import Host, Value, as_host, as_ints, as_tensor

Watch = Callable[[Node, Value], None]
NOTHING, TRASH = 0, 1
"""Places of what is absent and of outputs that nobody named."""
FOLDED_LIMIT = 2**24
"""Results of constants are kept up to so many elements; larger ones are computed in each run."""


class Unsupported(Exception):
    """A node has an operator that is not in the table."""

    def __init__(self, node: Node) -> None:
        super().__init__(f"Node '{node.name}' is a {node.op}.")
        self.node = node


class NodeFailed(Exception):
    """A node could not be run on the values it was given; the cause says why."""

    def __init__(self, node: Node, why: Exception) -> None:
        super().__init__(f"Node '{node.name}' ({node.op}) cannot be run: {why}")
        self.node, self.why = node, why


def bodies_of(node: Node) -> dict[str, GraphProto]:
    return {name: value for name, value in node.attributes.items() if isinstance(value, GraphProto)}


def _read(nodes: Iterable[NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield from filter(None, node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from captured(attribute.g)


def captured(body: GraphProto) -> list[str]:
    """The names that a subgraph reads from around it."""
    own = {value.name for value in (*body.input, *body.initializer)}
    own |= {name for node in body.node for name in node.output}
    read = (*_read(body.node), *(value.name for value in body.output))
    return [name for name in dict.fromkeys(read) if name not in own]


def check_supported(nodes: Iterable[Node]) -> None:
    """Raises Unsupported for the first node, also within bodies, that the table does not know."""
    for node in nodes:
        if node.op not in OPS and node.op not in HOST:
            raise Unsupported(node)
        for body in bodies_of(node).values():
            check_supported(decode(proto, node.opset) for proto in body.node)


def _ints(value: Value) -> list[int] | None:
    return None if value is None else as_ints(value)


def _numbers(value: Value) -> Value:
    return as_host(value) if isinstance(value, Tensor) else value


@dataclass
class _Part:
    """A body of a control-flow node, and the places of what it reads from around it."""

    program: "Program"
    outer: list[int]

    def bind(self, values: list[Value]) -> Callable[[list[Value]], list[Value]]:
        around = [values[place] for place in self.outer]
        return lambda given: self.program.run([*given, *around])


@dataclass
class _Step:
    """One node: where its inputs are and how each is converted, where its outputs go, what is dropped after it."""

    node: Node
    op: Op | None
    inputs: list[int]
    outputs: list[int]
    setting: Setting
    host: Callable[..., Host] | None = None
    ready: list[tuple[int, Callable[[Value], Any] | None]] = field(default_factory=list)
    parts: dict[str, _Part] = field(default_factory=dict)
    dying: list[int] = field(default_factory=list)

    def __call__(self, values: list[Value]) -> Value | tuple[Value, ...]:
        if self.host is not None:
            given = [values[place] for place in self.inputs]
            if not any(isinstance(value, Tensor) for value in given):
                return self.host(self.node, *given)
        assert self.op is not None  # noqa: S101 - checked when planned
        ready = [values[place] if to is None else to(values[place]) for place, to in self.ready]
        if self.parts:
            bodies = {name: part.bind(values) for name, part in self.parts.items()}
            return self.op.run(self.node, *ready, **bodies)
        if self.op.modal:
            return self.op.run(self.node, *ready, setting=self.setting.of(self.node.op))
        return self.op.run(self.node, *ready)


class Program:
    """Runs nodes in order. `inputs` are given at each run, among them parameters; `constants` never change.

    Raises Unsupported for an op that is not known.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        inputs: Sequence[str],
        outputs: Sequence[str],
        constants: Mapping[str, Host],
        setting: Setting,
        special: Mapping[str, Op] | None = None,
    ) -> None:
        """`special` says how to run the node that makes a tensor, where it is not as the table has it."""
        check_supported(nodes)
        self._setting, self._special = setting, special or {}
        self._device: torch.device | None = None
        self._values: list[Value] = [None, None]
        self._places: dict[str, int] = {"": NOTHING}
        self._ready: dict[tuple[str, str], int] = {}
        self._constants = dict(constants)
        for name in inputs:
            self._constants.pop(name, None)
        self._inputs = [self._place(name) for name in inputs]
        self._steps = [step for node in nodes if (step := self._planned(node)) is not None]
        self._outputs = [self._place(name) for name in outputs]
        self._let_die()

    def _place(self, name: str) -> int:
        if name not in self._places:
            self._places[name] = len(self._values)
            self._values.append(self._constants.get(name))
        return self._places[name]

    def _planned(self, node: Node) -> _Step | None:
        """The step of a node; None where its result is known already."""
        if node.outputs and node.outputs[0] in self._constants:
            return None
        op = self._special.get(node.outputs[0]) if node.outputs else None
        known = OPS.get(node.op)
        step = _Step(
            node,
            op or known,
            [self._place(name) for name in node.inputs],
            [self._place(name) if name else TRASH for name in node.outputs],
            self._setting,
            host=None if op else HOST.get(node.op),
            parts={name: self._part(body, node.opset) for name, body in bodies_of(node).items()},
        )
        if self._fold(step):
            return None
        if step.op is not None:
            step.ready = [self._prepared(step.op, index, name) for index, name in enumerate(node.inputs)]
        return step

    def _part(self, body: GraphProto, opset: int) -> _Part:
        around = captured(body)
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in body.initializer}
        constants |= {sparse.values.name: dense(sparse) for sparse in body.sparse_initializer}
        inputs = [value.name for value in body.input] + around
        outputs = [value.name for value in body.output]
        nodes = [decode(proto, opset) for proto in body.node]
        return _Part(Program(nodes, inputs, outputs, constants, self._setting), [self._place(n) for n in around])

    def _fold(self, step: _Step) -> bool:
        """Compute now what depends on constants only. What fails now will fail, and be seen, in the run."""
        fixed = all(name in self._constants for name in step.node.inputs if name)
        if not fixed or step.parts or (step.op is not None and step.op.modal):
            return False
        if step.op is not None:
            step.ready = [(place, self._converter(step.op, i)) for i, place in enumerate(step.inputs)]
        try:
            with np.errstate(all="ignore"), torch.no_grad():
                made = step(self._values)
        except Exception:  # noqa: BLE001 - whatever it is, the run meets it again
            return False
        return self._keep(step.node, made if isinstance(made, tuple) else (made,))

    def _keep(self, node: Node, results: tuple[Value, ...]) -> bool:
        if not all(isinstance(r, np.ndarray | np.generic | Tensor) for r in results):
            return False
        arrays = [as_host(result) for result in results]
        if any(array.size > FOLDED_LIMIT for array in arrays):
            return False
        for name, array in zip(node.outputs, arrays, strict=False):
            self._constants[name] = array
            self._values[self._place(name)] = array
        return True

    def _converter(self, op: Op, index: int) -> Callable[[Value], Any] | None:
        if index in op.sizes:
            return _ints
        if op.host:
            return _numbers
        return None if op.raw is None or index in op.raw else self._dense

    def _dense(self, value: Value) -> Value:
        return value if value is None or isinstance(value, Tensor) else as_tensor(value, self._device)

    def _prepared(self, op: Op, index: int, name: str) -> tuple[int, Callable[[Value], Any] | None]:
        """Where an input is, and how to convert it; constants are converted here, once."""
        to = self._converter(op, index)
        if to is None or name not in self._constants or self._constants[name].dtype.kind == "O":
            return self._place(name), to
        key = (name, to.__name__)
        if key not in self._ready:
            self._ready[key] = len(self._values)
            self._values.append(to(self._constants[name]))
        return self._ready[key], None

    def _let_die(self) -> None:
        """Per step, the values that no later one reads are dropped at once: memory holds only what is alive."""
        last: dict[int, _Step] = {}
        for step in self._steps:
            outer = [place for part in step.parts.values() for place in part.outer]
            read = [place for place, _ in step.ready]
            last |= dict.fromkeys((*step.inputs, *read, *outer, *step.outputs), step)
        kept = {NOTHING, *self._outputs, *self._ready.values()}
        for place, step in last.items():
            if place not in kept:
                step.dying.append(place)

    def _move(self, device: torch.device | None) -> None:
        if device == self._device:
            return
        self._device = device
        self._values = [v.to(device) if isinstance(v, Tensor) and device else v for v in self._values]

    def run(self, given: Sequence[Value], watch: Watch | None = None) -> list[Value]:
        """The outputs for these inputs. `watch` is shown every value as it is made. Raises NodeFailed."""
        self._move(self._setting.device)
        values = self._values.copy()
        for place, value in zip(self._inputs, given, strict=True):
            values[place] = value
        for step in self._steps:
            try:
                made = step(values)
            except NodeFailed:  # within a body
                raise
            except Exception as error:
                raise NodeFailed(step.node, error) from error
            results: tuple[Value, ...] = made if isinstance(made, tuple) else (made,)
            for place, result in zip(step.outputs, results, strict=False):
                values[place] = result
            if watch is not None:
                for result in results[: len(step.node.outputs)]:
                    watch(step.node, result)
            for place in step.dying:
                values[place] = None
        return [values[place] for place in self._outputs]
