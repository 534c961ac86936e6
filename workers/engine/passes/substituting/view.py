"""A graph as rules look at it: shapes, and who reads what."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from onnx import NodeProto, helper

from workers.engine.graph.graph import DEFAULT_DOMAINS, Array, Graph, name_of
from workers.engine.graph.shapes import Shape, infer_shapes
from workers.engine.graph.tensors import all_nodes


class View:
    """Shapes are those at batch 1."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.shapes: dict[str, Shape] = infer_shapes(graph)
        self._places = {name_of(node): place for place, node in enumerate(graph.nodes)}
        self._reads = Counter(name for node in all_nodes(graph.model) for name in node.input)
        self._reads.update(facts.name for facts in graph.outputs)

    def nodes(self, *ops: str) -> list[NodeProto]:
        """The standard nodes of these kinds, in the order they run."""
        return [node for node in self.graph.nodes if node.op_type in ops and node.domain in DEFAULT_DOMAINS]

    def place(self, node: NodeProto) -> int:
        """Where a node of the graph comes in the order in which they run."""
        return self._places[name_of(node)]

    def maker(self, tensor: str, *ops: str) -> NodeProto | None:
        """The node that makes a tensor, if it is of these kinds."""
        node = self.graph.producer(tensor)
        return node if node is not None and node.op_type in ops and node.domain in DEFAULT_DOMAINS else None

    def inside(self, tensor: str, *ops: str) -> NodeProto | None:
        """The same, of a tensor that is read once: it need not be made if its reader goes."""
        return self.maker(tensor, *ops) if self._reads[tensor] == 1 else None

    def reader(self, tensor: str) -> NodeProto | None:
        """The one node that reads a tensor; None where there are others, or it leaves the graph."""
        readers = self.graph.consumers(tensor)
        return readers[0] if self._reads[tensor] == 1 and readers else None

    def read_only_by(self, tensor: str, nodes: Sequence[NodeProto]) -> bool:
        return self._reads[tensor] == sum(list(node.input).count(tensor) for node in nodes)

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        """None unless every axis is known."""
        shape = self.shapes.get(tensor)
        return None if shape is None or None in shape else tuple(int(size or 0) for size in shape)

    def constant(self, tensor: str) -> Array | None:
        """The values of a constant; None for what is computed."""
        return self.graph.weight(tensor) if tensor in self.graph.constants else None

    def floats(self, tensor: str) -> Array | None:
        """The values of a float32 constant."""
        return (
            self.constant(tensor) if tensor in self.graph.constants and self.graph.dtype(tensor) == "float32" else None
        )


def attributes(node: NodeProto) -> dict[str, Any]:
    """Those that are given, as Python values."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}
