"""Who reads a tensor, counting what a top-level look does not see: outputs, and bodies of control flow."""

from onnx import NodeProto

from workers.engine.graph.graph import Graph
from workers.engine.graph.tensors import all_nodes


def seen_elsewhere(graph: Graph) -> frozenset[str]:
    """Tensors that are outputs of the graph, or read by a body of control flow."""
    top = {id(node) for node in graph.model.graph.node}
    inner = {name for node in all_nodes(graph.model) if id(node) not in top for name in node.input}
    return frozenset({output.name for output in graph.outputs} | inner)


def is_read_once(graph: Graph, tensor: str) -> bool:
    """Whether one input of one top-level node is all that a tensor goes to."""
    uses = sum(list(reader.input).count(tensor) for reader in graph.consumers(tensor))
    return uses == 1 and tensor not in seen_elsewhere(graph)


def only_reader(graph: Graph, tensor: str) -> NodeProto | None:
    """The node that alone reads a tensor, by one input; None if there is no such."""
    return graph.consumers(tensor)[0] if is_read_once(graph, tensor) else None
