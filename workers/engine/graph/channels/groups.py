"""Channel groups: which slices of which weights go together, and which must stay."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from workers.engine.graph.channels.atoms import Labels, carried
from workers.engine.graph.channels.follow import carrier, follow
from workers.engine.graph.channels.prepare import prepare
from workers.engine.graph.channels.sites import Role, Site
from workers.engine.graph.channels.trace import Trace
from workers.engine.graph.graph import Graph

MATRIX = 2


@dataclass(frozen=True)
class Slices:
    """A constant at an input of a node, the axis along which it is cut, and the unit that each index belongs to."""

    site: Site
    axis: int
    units: Labels


@dataclass(frozen=True)
class Group:
    """Units (channels, heads, hidden units) of the same kind: each can go, with all of its slices, on its own.

    `layers` make them; `units` are numbers of components, in the order of the first layer's outputs.
    """

    layers: tuple[str, ...]
    units: tuple[int, ...]
    is_heads: bool

    @property
    def name(self) -> str:
        return self.layers[0]


@dataclass(frozen=True)
class Channels:
    """What can be cut in `graph`, a prepared copy. `protected` says of each other layer why it keeps its outputs.

    Of every set in `floors`, the units along an axis of some tensor, one must stay.
    """

    graph: Graph
    trace: Trace
    labels: Labels
    slices: tuple[Slices, ...]
    groups: tuple[Group, ...]
    protected: dict[str, str]
    floors: tuple[frozenset[int], ...]
    copies: dict[str, str]

    def slices_of(self, group: Group) -> tuple[Slices, ...]:
        """The slices in which units of a group have a part."""
        return tuple(slices for slices in self.slices if np.isin(slices.units, group.units).any())


def _slices(trace: Trace, labels: Labels) -> tuple[Slices, ...]:
    found = ((site, carrier(site.atoms, labels)) for site in trace.sites if carried(site.atoms))
    return tuple(Slices(site, *where) for site, where in found if where is not None)


def _excluded(slices: tuple[Slices, ...], exclude: Collection[str]) -> dict[int, str]:
    names = set(exclude)
    cut = [each for each in slices if {each.site.layer, each.site.constant} & names]
    return {int(unit): f"'{each.site.layer}' is excluded" for each in cut for unit in np.unique(each.units)}


def _is_matrix(trace: Trace, site: Site) -> bool:
    return len(trace.graph.constants[site.constant].dims) >= MATRIX and site.role is not Role.VECTOR


def _groups(trace: Trace, slices: tuple[Slices, ...], labels: Labels, kept: dict[int, str]) -> tuple[Group, ...]:
    """Free units with slices in the same matrices are of one kind."""
    parts: dict[int, list[tuple[str, int]]] = defaultdict(list)
    layers: dict[int, list[str]] = defaultdict(list)
    for each in slices:
        for unit in np.unique(each.units).tolist():
            if unit in kept or not _is_matrix(trace, each.site):
                continue
            parts[unit].append((each.site.constant, each.axis))
            if each.site.role is Role.OUT:
                layers[unit].append(each.site.layer)
    heads = {int(label) for atoms in trace.heads for label in np.unique(labels[atoms])}
    alike: dict[tuple[tuple[str, int], ...], list[int]] = defaultdict(list)
    for unit, key in parts.items():
        if layers[unit]:
            alike[tuple(sorted(set(key)))].append(unit)
    found = [Group(tuple(dict.fromkeys(layers[units[0]])), tuple(units), units[0] in heads) for units in alike.values()]
    return tuple(group for group in found if len(group.units) > 1)


def _floors(trace: Trace, labels: Labels) -> tuple[frozenset[int], ...]:
    found = (carrier(atoms, labels) for atoms in trace.tensors.values())
    return tuple({frozenset(np.unique(where[1]).tolist()) for where in found if where is not None})


def _protected(slices: tuple[Slices, ...], groups: tuple[Group, ...], kept: dict[int, str]) -> dict[str, str]:
    free = {layer for group in groups for layer in group.layers}
    found: dict[str, str] = {}
    for each in slices:
        if each.site.role is Role.OUT and each.site.layer not in free:
            reasons = (kept[int(unit)] for unit in each.units if int(unit) in kept)
            found.setdefault(each.site.layer, next(reasons, "all of them depend on each other"))
    return found


def find_channels(
    graph: Graph, input_shapes: dict[str, tuple[int, ...]] | None = None, exclude: Collection[str] = ()
) -> Channels:
    """The channel groups of a graph, which is not changed, from its nodes alone.

    `input_shapes` are full shapes of inputs with open axes besides the batch; without them some length is assumed.
    Layers and weights in `exclude` keep their shapes.
    """
    own = graph.copy()
    shapes, copies = prepare(own, input_shapes or {})
    trace = follow(own, shapes)
    labels = trace.ties.labels()
    slices = _slices(trace, labels)
    kept = trace.ties.fixed() | _excluded(slices, exclude)
    groups = _groups(trace, slices, labels, kept)
    return Channels(
        own, trace, labels, slices, groups, _protected(slices, groups, kept), _floors(trace, labels), copies
    )
