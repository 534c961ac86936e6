"""Which tensor inside a graph is aligned between domains."""

from workers.engine.data.fit import fixed_at_one
from workers.engine.graph.graph import Graph, name_of
from workers.engine.graph.layers import layers_of
from workers.engine.graph.trainable import NotTrainable, needed
from workers.engine.passes.errors import NothingToDo
from workers.engine.training.objective import check_tensor, decisive_output, logits_of


def check_batches(graph: Graph) -> None:
    """Raises NotTrainable for a model that takes one sample at a time: that has no distribution to compare."""
    if fixed_at_one(graph.inputs):
        raise NotTrainable(
            "The model takes one sample at a time, and distributions are those of many.",
            hint="Export it with a free batch axis, or use the method batch_norm or self_distillation.",
        )


def aligned_tensor(graph: Graph, named: str | None) -> str:
    """The tensor named, or what goes into the last layer with weights. Raises UnknownTensor or NothingToDo."""
    return check_tensor(graph, named, "model") if named is not None else _into_the_last_layer(graph)


def _into_the_last_layer(graph: Graph) -> str:
    layers = {layer.name for layer in layers_of(graph)}
    name = logits_of(graph, decisive_output(graph))
    while (node := graph.producer(name)) is not None:
        data: str | None = next((given for given in node.input if given and graph.source(given) is None), None)
        if data is None:
            break
        if name_of(node) in layers:
            return _behind_a_layer(graph, layers, data)
        name = data
    raise NothingToDo("There is no layer with weights before the output.", hint="Name a tensor to align.")


def _behind_a_layer(graph: Graph, layers: set[str], tensor: str) -> str:
    if not any(node.name in layers for node in needed(graph, (tensor,))):
        raise NothingToDo(f"There is no layer with weights before '{tensor}', so nothing can align it.")
    return tensor
