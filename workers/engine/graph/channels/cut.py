"""Cutting channels out of a graph."""

from collections import defaultdict
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from workers.engine.graph.channels.follow import carrier
from workers.engine.graph.channels.groups import Channels
from workers.engine.graph.channels.prepare import make_attribute, rejoin_settings
from workers.engine.graph.channels.sites import Count, Entry, Remap, Setting
from workers.engine.graph.edit import drop_unread
from workers.engine.graph.graph import Array, Graph

Kept = NDArray[np.bool_]
Places = dict[int, Kept]
"""Per axis of a constant, which indices stay."""


def cut(channels: Channels, gone: Collection[int]) -> Graph:
    """A new graph without these units: nodes and names as before, smaller weights, other sizes in the settings."""
    graph = channels.graph.copy()
    lost = np.zeros(int(channels.labels.max(initial=0)) + 1, bool)
    lost[list(gone)] = True
    _cut_settings(channels, graph, lost)
    for constant, uses in _places(channels, lost).items():
        _cut_constant(graph, constant, uses)
    del graph.model.graph.value_info[:]  # the lengths written there are no longer true
    rejoin_settings(graph, channels.copies)
    drop_unread(graph)
    return graph


def _kept(channels: Channels, lost: Kept, tensor: str, axis: int) -> Kept | None:
    """Which indices along an axis of a tensor stay; None if it is not cut along that axis."""
    atoms = channels.trace.atoms(tensor)
    found = None if atoms is None else carrier(atoms, channels.labels)
    return None if found is None or found[0] != axis else ~lost[found[1]]


def _cut_settings(channels: Channels, graph: Graph, lost: Kept) -> None:
    nodes = {node.output[0]: node for node in graph.model.graph.node}
    for count in channels.trace.counts:
        kept = _kept(channels, lost, count.tensor, count.axis)
        if kept is not None:
            _write_count(graph, nodes, count, int(kept[count.start : count.stop].sum()))
    for remap in channels.trace.remaps:
        kept = _kept(channels, lost, remap.tensor, remap.axis)
        if kept is not None:
            _write_indices(graph, remap, kept)


def _write_count(graph: Graph, nodes: dict[str, NodeProto], count: Count, length: int) -> None:
    match count.place:
        case Entry(constant=constant, position=position):
            values = np.array(graph.weight(constant))
            values.reshape(-1)[position] = length
            graph.set_weight(constant, values)
        case Setting(node=node, attribute=attribute, position=place):
            make_attribute(nodes[node], attribute, length, place)


def _write_indices(graph: Graph, remap: Remap, kept: Kept) -> None:
    old = np.asarray(graph.weight(remap.constant))
    wanted = old[kept[old]] % len(kept)
    graph.set_weight(remap.constant, (np.cumsum(kept) - 1)[wanted].astype(old.dtype))


def _places(channels: Channels, lost: Kept) -> dict[str, dict[tuple[str, int], Places]]:
    """Per constant and node input, what stays of it along which axis; constants that keep everything are left out."""
    found: dict[str, dict[tuple[str, int], Places]] = defaultdict(lambda: defaultdict(dict))
    for each in channels.slices:
        kept = ~lost[each.units]
        if not kept.all():
            found[each.site.constant][each.site.node, each.site.index][each.axis] = kept
    return found


def _taken(values: Array, places: Places) -> Array:
    for axis, kept in places.items():
        values = np.compress(kept, values, axis)
    return values


def _cut_constant(graph: Graph, constant: str, uses: dict[tuple[str, int], Places]) -> None:
    """Cut a constant for every node that reads it; nodes that want other parts of it get constants of their own."""
    values = np.asarray(graph.weight(constant))
    alike: dict[bytes, list[tuple[str, int]]] = defaultdict(list)
    for use, places in uses.items():
        alike[b"".join(bytes([axis]) + kept.tobytes() for axis, kept in sorted(places.items()))].append(use)
    readers = {(node.output[0], i) for node in graph.nodes for i, name in enumerate(node.input) if name == constant}
    first, *others = alike.values()
    if readers - uses.keys():
        others = [first, *others]
    else:
        _replace(graph, constant, _taken(values, uses[first[0]]))
    for number, readers_alike in enumerate(others, 1):
        _own(graph, constant, f"{constant}.{number}", _taken(values, uses[readers_alike[0]]), readers_alike)


def _replace(graph: Graph, constant: str, values: Array) -> None:
    graph.set_weight(constant, values)
    for given in graph.model.graph.input:
        if given.name == constant:  # old files list their constants among the inputs
            for dim, length in zip(given.type.tensor_type.shape.dim, values.shape, strict=True):
                dim.dim_value = length


def _own(graph: Graph, constant: str, name: str, values: Array, uses: list[tuple[str, int]]) -> None:
    if name in graph.constants or graph.producer(name) is not None:
        name = f"{name}.{uses[0][0]}"
    graph.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
    for node in graph.model.graph.node:
        for index in range(len(node.input)):
            if (node.output[0], index) in uses and node.input[index] == constant:
                node.input[index] = name
    graph.reindex()
