"""Names of layers and weights in the settings of a pass."""

import re
from collections.abc import Sequence
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


def chosen_names(graph: Graph, names: Sequence[str], ops: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """The names given, those of nodes of the ops given, and those that a pattern matches as a whole.

    Raises UnknownLayer for a name, an op or a pattern that nothing in the graph answers to.
    """
    check_names(graph, tuple(names))
    found = list(names)
    for op in ops:
        found += _some([name_of(node) for node in graph.nodes if node.op_type == op], f"No node is a '{op}'.")
    known = dict.fromkeys([*map(name_of, graph.nodes), *(layer.weight for layer in layers_of(graph))])
    for pattern in patterns:
        matching = [name for name in known if re.fullmatch(pattern, name)]
        found += _some(matching, f"No layer or weight matches '{pattern}'.")
    return tuple(dict.fromkeys(found))


def _some(names: list[str], else_say: str) -> list[str]:
    if not names:
        raise UnknownLayer(else_say)
    return names
