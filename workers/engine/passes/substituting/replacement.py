"""Nodes that take the place of others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, helper, numpy_helper

from workers.engine.graph.edit import drop_unread
from workers.engine.graph.graph import Array, Graph, name_of
from workers.engine.graph.tensors import all_nodes


@dataclass(frozen=True)
class Replacement:
    """`nodes` make what the last of those `gone` made, of what was there before it; `told` says how."""

    gone: tuple[NodeProto, ...]
    nodes: tuple[NodeProto, ...]
    constants: Mapping[str, Array]
    told: str


@dataclass
class Maker:
    """New nodes and constants, named after the node whose place they take."""

    name: str
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    @property
    def _next(self) -> str:
        """Not `.part`, which factorizing calls its layers."""
        return f"{self.name}.made{len(self.nodes) + 1}"

    def constant(self, values: Array) -> str:
        """A new constant. Returns its name."""
        name = f"{self.name}.given{len(self.constants) + 1}"
        self.constants[name] = values
        return name

    def ints(self, *values: int) -> str:
        """A new constant vector of integers. Returns its name."""
        return self.constant(np.array(values, np.int64))

    def add(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """A new node. Returns the name of its output."""
        name = self._next
        made = output or name
        self.nodes.append(helper.make_node(op, inputs, [made], name, **attributes))
        return made

    def split(self, tensor: str, sizes: str, count: int) -> list[str]:
        """A new node that splits a tensor along its second axis. Returns the names of its outputs."""
        name = self._next
        made = [f"{name}.{number}" for number in range(1, count + 1)]
        self.nodes.append(helper.make_node("Split", [tensor, sizes], made, name, axis=1))
        return made

    def of(self, gone: Iterable[NodeProto], told: str) -> Replacement:
        """All that was made, in the place of these."""
        return Replacement(tuple(gone), tuple(self.nodes), self.constants, told)


def replaced(graph: Graph, found: Iterable[Replacement]) -> tuple[Graph, list[Replacement]]:
    """A copy with the replacements made, but for those that would replace what another one has; and those made."""
    made: list[Replacement] = []
    gone: set[str] = set()
    for each in found:
        names = {name_of(node) for node in each.gone}
        if not names & gone:
            gone |= names
            made.append(each)
    return _rewritten(graph, {name_of(each.gone[-1]): each for each in made}), made


def _rewritten(graph: Graph, places: Mapping[str, Replacement]) -> Graph:
    """Only the node that makes the result is taken out here; what nobody reads any more goes after it."""
    after = graph.copy()
    nodes: list[NodeProto] = []
    for node in after.nodes:
        place = places.get(name_of(node))
        nodes.extend([node] if place is None else place.nodes)
    after.model.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(values), name)
        for place in places.values()
        for name, values in place.constants.items()
    )
    del after.model.graph.node[:]
    after.model.graph.node.extend(nodes)
    after.reindex()
    _drop_idle(after)
    drop_unread(after)
    return after


def _drop_idle(graph: Graph) -> None:
    """Remove nodes of which no output is read, until there are none."""
    while True:
        read = {facts.name for facts in graph.outputs} | {
            name for node in all_nodes(graph.model) for name in node.input
        }
        used = [node for node in graph.nodes if read.intersection(node.output)]
        if len(used) == len(graph.nodes):
            return
        del graph.model.graph.node[:]
        graph.model.graph.node.extend(used)
        graph.reindex()
