"""Small changes of structure that passes need first."""

from onnx import NodeProto, TensorProto

from workers.engine.graph.graph import DEFAULT_DOMAINS, Graph, name_of


def name_nodes(graph: Graph) -> None:
    """Give nodes without a name the one they are known by, so that libraries can be told of them."""
    for node in graph.model.graph.node:
        node.name = name_of(node)


def _remove(graph: Graph, nodes: list[NodeProto]) -> None:
    for node in nodes:
        graph.model.graph.node.remove(node)
    graph.reindex()


def store_constants_as_initializers(graph: Graph) -> None:
    """Move the values of Constant nodes, where some exporters keep weights, to initializers of the same name."""
    made = [node for node in graph.nodes if node.op_type == "Constant" and node.output[0] in graph.constants]
    for node in made:
        tensor = TensorProto()
        tensor.CopyFrom(graph.constants[node.output[0]])
        tensor.name = node.output[0]
        graph.model.graph.initializer.append(tensor)
    _remove(graph, made)


def read_weights_directly(graph: Graph) -> None:
    """Let nodes read a constant itself where they read an Identity of it, as exporters write shared biases."""
    outputs = {facts.name for facts in graph.outputs}
    aliases = {
        node.output[0]: node.input[0]
        for node in graph.nodes
        if node.op_type == "Identity" and node.domain in DEFAULT_DOMAINS and node.input[0] in graph.constants
    }
    for node in graph.model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = aliases.get(name, name)
    _remove(graph, [n for n in graph.nodes if n.output[0] in aliases and n.output[0] not in outputs])
