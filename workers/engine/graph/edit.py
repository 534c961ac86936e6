"""Small changes of structure that passes need first."""

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from workers.engine.graph.graph import DEFAULT_DOMAINS, Array, Graph, name_of
from workers.engine.graph.tensors import all_nodes


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


def _standing_for(graph: Graph, node: NodeProto) -> Array | None:
    """The values of a node that only renames or turns a constant; None for any other."""
    if node.domain not in DEFAULT_DOMAINS or not node.input or node.input[0] not in graph.constants:
        return None
    match node.op_type:
        case "Identity":
            return graph.weight(node.input[0])
        case "Transpose":
            order = next((tuple(a.ints) for a in node.attribute if a.name == "perm"), None)
            return np.transpose(graph.weight(node.input[0]), order)
        case _:
            return None


def store_weights_directly(graph: Graph) -> None:
    """Make initializers of what are only aliases and transposes of constants, and drop what is then no longer read.

    Exporters that fold no constants write biases and the weights of linear layers so.
    """
    made = [(node, values) for node in graph.nodes if (values := _standing_for(graph, node)) is not None]
    for node, values in made:
        tensor = numpy_helper.from_array(np.ascontiguousarray(values), node.output[0])
        graph.model.graph.initializer.append(tensor)
    _remove(graph, [node for node, _ in made])
    drop_unread(graph)


def drop_unread(graph: Graph) -> None:
    """Remove initializers that nothing reads: no node, no subgraph, no output."""
    read = {name for node in all_nodes(graph.model) for name in node.input}
    read |= {facts.name for facts in graph.outputs}
    kept = [tensor for tensor in graph.model.graph.initializer if tensor.name in read]
    del graph.model.graph.initializer[:]
    graph.model.graph.initializer.extend(kept)
    graph.reindex()


def _uses(graph: Graph, tensor: str) -> int:
    return sum(list(node.input).count(tensor) for node in graph.consumers(tensor))


def separate_statistics(graph: Graph) -> None:
    """Give each BatchNormalization running statistics of its own.

    Exporters store equal tensors once, so that a mean may be an alias of a bias; they part as soon as one is learned.
    """
    for node in graph.model.graph.node:
        if node.op_type != "BatchNormalization":
            continue
        for index, kind in ((3, "mean"), (4, "var")):
            source = graph.source(node.input[index])
            if source is None or (source == node.input[index] and _uses(graph, source) == 1):
                continue
            own = f"{name_of(node)}.running_{kind}"
            graph.model.graph.initializer.append(numpy_helper.from_array(graph.weight(source), own))
            node.input[index] = own
    graph.reindex()
