"""Small changes of structure that passes need first."""

from collections.abc import Container

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from workers.engine.graph.graph import DEFAULT_DOMAINS, Graph, name_of
from workers.engine.graph.tensors import all_nodes


def name_nodes(graph: Graph) -> None:
    """Give nodes without a name the one they are known by, so that libraries can be told of them."""
    for node in graph.model.graph.node:
        node.name = name_of(node)


def _remove(graph: Graph, outputs: Container[str]) -> None:
    """Remove the nodes that make one of these tensors."""
    kept = [node for node in graph.nodes if node.output[0] not in outputs]
    del graph.model.graph.node[:]
    graph.model.graph.node.extend(kept)
    graph.reindex()


def store_constants_as_initializers(graph: Graph) -> None:
    """Move the values of Constant nodes, where some exporters keep weights, to initializers of the same name."""
    made = [node for node in graph.nodes if node.op_type == "Constant" and node.output[0] in graph.constants]
    for node in made:
        tensor = TensorProto()
        tensor.CopyFrom(graph.constants[node.output[0]])
        tensor.name = node.output[0]
        graph.model.graph.initializer.append(tensor)
    _remove(graph, {node.output[0] for node in made})


Turned = dict[tuple[str, tuple[int, ...]], str]
"""Names of constants made by transposing others, by what they were made of: a constant and an order of axes."""


def _turned(graph: Graph, node: NodeProto, made: Turned) -> str:
    """The initializer that holds a constant as this Transpose gives it; made once, however many nodes want it."""
    given = node.input[0]
    reverse = range(len(graph.constants[given].dims) - 1, -1, -1)
    order = next((tuple(a.ints) for a in node.attribute if a.name == "perm"), tuple(reverse))
    if (given, order) not in made:
        made[given, order] = node.output[0]
        values = np.ascontiguousarray(np.transpose(graph.weight(given), order))
        graph.model.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
    return made[given, order]


def _standing_in(graph: Graph, made: Turned) -> dict[str, str]:
    """What only renames or turns a constant, and which constant to read in its place."""
    outputs = {facts.name for facts in graph.outputs}
    found: dict[str, str] = {}
    for node in graph.nodes:
        if node.domain not in DEFAULT_DOMAINS or not node.input or node.input[0] not in graph.constants:
            continue
        if node.op_type == "Identity" and node.output[0] not in outputs:
            found[node.output[0]] = node.input[0]
        elif node.op_type == "Transpose" and node.output[0] not in outputs:
            found[node.output[0]] = _turned(graph, node, made)
    return found


def store_weights_directly(graph: Graph) -> None:
    """Let nodes read constants themselves, not aliases and transposes of them; drop what is then no longer read.

    Exporters that fold no constants write biases and the weights of linear layers so. Shared weights stay shared.
    """
    made: Turned = {}
    while found := _standing_in(graph, made):
        _remove(graph, found)
        for node in all_nodes(graph.model):
            for index, name in enumerate(node.input):
                node.input[index] = found.get(name, name)
        graph.reindex()
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
