"""Following channels through a graph, and settling along which axis each tensor is cut."""

import numpy as np

from workers.engine.graph.channels.atoms import Atoms, Labels, carried
from workers.engine.graph.channels.rules import sizes
from workers.engine.graph.channels.rules.table import BEGINNING, CONTINUING
from workers.engine.graph.channels.sites import Origin
from workers.engine.graph.channels.trace import Trace
from workers.engine.graph.graph import Graph
from workers.engine.graph.ops.node import Node, decode
from workers.engine.graph.shapes import Shape
from workers.engine.graph.tensors import nodes_within


def follow(graph: Graph, shapes: dict[str, Shape]) -> Trace:
    """Apply the rule of every node, keep what reaches the outputs, and settle what could be cut in several ways."""
    trace = Trace(graph, shapes)
    for proto in graph.nodes:
        node = decode(proto, graph.opset)
        _step(trace, node)
        captured = {name for inner in nodes_within(iter([proto])) if inner is not proto for name in inner.input}
        trace.refuse(captured, f"the body of '{node.name}' reads them")
    for facts in graph.outputs:
        trace.refuse([facts.name], "they are an output of the model")
        for entry in trace.sizes.get(facts.name, ()):
            if isinstance(entry, Origin):
                sizes.keep(trace, entry, facts.name)
    _tie_shared(trace)
    _settle(trace)
    return trace


def _step(trace: Trace, node: Node) -> None:
    if sizes.follow(trace, node):
        return
    sizes.spoil(trace, node)
    carrying = any(name in trace.tensors for name in node.inputs)
    if node.op in BEGINNING:
        BEGINNING[node.op](trace, node)
    elif carrying and node.op in CONTINUING:
        CONTINUING[node.op](trace, node)
    elif carrying:
        trace.refuse(node.inputs, f"'{node.name}' is a {node.op}, through which channels are not followed")


def _tie_shared(trace: Trace) -> None:
    """A matrix that several nodes read is cut once for all of them, or not at all; short vectors are copied instead."""
    uses: dict[str, set[tuple[str, int]]] = {}
    for node in nodes_within(iter(trace.graph.nodes)):
        for index, name in enumerate(node.input):
            if name in trace.graph.constants and len(trace.graph.constants[name].dims) > 1:
                uses.setdefault(name, set()).add((node.output[0], index))
    outputs = {facts.name for facts in trace.graph.outputs}
    for name, places in uses.items():
        if len(places) > 1 or name in outputs:
            _tie_uses(trace, name, places, is_output=name in outputs)


def _tie_uses(trace: Trace, name: str, places: set[tuple[str, int]], *, is_output: bool) -> None:
    sites = [site for site in trace.sites if site.constant == name]
    for axis in range(len(trace.graph.constants[name].dims)):
        cut = [site for site in sites if axis in carried(site.atoms)]
        for site in cut[1:]:
            if site.atoms.shape == cut[0].atoms.shape:
                trace.ties.tie(site.atoms, cut[0].atoms)
            else:
                trace.ties.fix(site.atoms, f"'{name}' is shared and used in different ways")
        if cut and (is_output or {(site.node, site.index) for site in cut} != places):
            trace.ties.fix(cut[0].atoms, f"'{name}' is shared with a layer that needs all of it")


def _settle(trace: Trace) -> None:
    """Where channels differ along several axes of a tensor, cut along the one that leaves most of them free."""
    kept = {id(trace.tensors[name]): axes for name, axes in trace.whole.items()}
    arrays = {id(atoms): atoms for atoms in (*trace.tensors.values(), *(site.atoms for site in trace.sites))}
    several = [atoms for atoms in arrays.values() if len(carried(atoms)) > 1]
    for atoms in sorted(several, key=lambda atoms: id(atoms) not in kept):
        if carrier(atoms, trace.ties.labels()) is None:
            _choose_axis(trace, atoms, kept.get(id(atoms), set()))
    for name, axes in trace.whole.items():
        found = carrier(trace.tensors[name], trace.ties.labels())
        if found is None or found[0] in axes:
            trace.ties.fix(trace.tensors[name], "single ones of them are taken out by number")


def _choose_axis(trace: Trace, atoms: Atoms, kept: set[int]) -> None:
    labels = trace.ties.labels()
    candidates = [axis for axis in carried(atoms) if axis not in kept]
    if not candidates:
        trace.ties.fix(atoms, "single ones of them are taken out by number")
        return
    free = {axis: len(np.unique(_merged(labels[atoms], axis))) for axis in candidates}
    axis = max(candidates, key=lambda axis: free[axis])
    first = atoms
    for other in carried(atoms):
        if other != axis:
            first = first.take([0], other)
    trace.ties.tie(atoms, first)


def _merged(labels: Labels, axis: int) -> Labels:
    """How many components would be left, were those of each index along an axis made one: one number for each."""
    rows = np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)
    groups = np.arange(len(rows))
    owner: dict[int, int] = {}
    for index, row in enumerate(rows):
        for label in np.unique(row).tolist():
            first = owner.setdefault(label, int(groups[index]))
            groups[groups == groups[index]] = first
    return groups


def carrier(atoms: Atoms, labels: Labels) -> tuple[int, Labels] | None:
    """The axis along which a tensor is cut, and the component of each index along it; None if there is none."""
    components = labels[atoms]
    for axis in carried(atoms):
        first = components
        for other in carried(atoms):
            if other != axis:
                first = first.take([0], other)
        if (components == first).all():
            return axis, first.reshape(-1)
    return None
