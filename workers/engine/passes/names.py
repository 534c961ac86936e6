"""Names of layers and weights in the settings of a pass."""

from difflib import get_close_matches

from workers.engine.graph.graph import Graph, name_of
from workers.engine.graph.layers import layers_of
from workers.engine.passes.errors import UnknownLayer


def check_names(graph: Graph, names: tuple[str, ...]) -> None:
    """Raises UnknownLayer, with the nearest name, unless each is the name of a node or of a layer's weight."""
    known = {name_of(node) for node in graph.nodes} | {layer.weight for layer in layers_of(graph)}
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.0)
            raise UnknownLayer(f"No layer or weight is called '{name}'; the nearest name is '{near[0]}'.")


def excluded_weights(graph: Graph, names: tuple[str, ...]) -> frozenset[str]:
    """The weights that must stay as they are: named themselves, or used by a layer that is."""
    return frozenset(layer.weight for layer in layers_of(graph) if {layer.name, layer.weight} & set(names))
