"""Arithmetic on sizes: which axis a number in a shape is the length of."""

from workers.engine.graph.channels.atoms import carried
from workers.engine.graph.channels.sites import Origin, SizeEntry
from workers.engine.graph.channels.trace import Trace
from workers.engine.graph.ops.layout import cut_of
from workers.engine.graph.ops.node import Node

TAKES_SIZES = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0, "Resize": 3}
"""The inputs that are lists of sizes."""


def follow(trace: Trace, node: Node) -> bool:
    """Keep track of where the numbers in a list of sizes come from. Returns whether the node is understood so."""
    made = _entries(trace, node)
    if made is not None:
        trace.sizes[node.outputs[0]] = made
    return made is not None


def _entries(trace: Trace, node: Node) -> tuple[SizeEntry, ...] | None:
    if node.op == "Shape":
        rank = len(trace.shapes.get(node.inputs[0], ()))
        axes = range(rank)[node.get("start", 0) : node.get("end", None)]
        return tuple(Origin(node.inputs[0], axis) for axis in axes) if rank else None
    given = [trace.sizes.get(name) if name not in trace.graph.constants else None for name in node.inputs]
    if node.op == "Concat":
        parts = [trace.entries(name) for name in node.inputs]
        known = [part for part in parts if part is not None]
        return tuple(entry for part in known for entry in part) if any(given) and len(known) == len(parts) else None
    if not given or given[0] is None:
        return None
    return _picked(trace, node, given[0])


def _picked(trace: Trace, node: Node, given: tuple[SizeEntry, ...]) -> tuple[SizeEntry, ...] | None:
    match node.op:
        case "Identity" | "Cast" | "Squeeze" | "Unsqueeze":
            return given
        case "Gather":
            chosen = trace.ints(node, 1)
            return None if chosen is None else tuple(given[index] for index in chosen)
        case "Slice":
            starts, ends, steps = (trace.ints(node, index) for index in (1, 2, 4))
            if starts is None or ends is None:
                return None
            return given[cut_of(starts[0], ends[0], 1 if steps is None else steps[0])]
        case _:
            return None


def spoil(trace: Trace, node: Node) -> None:
    """Keep the axes whose lengths go into what is not understood."""
    for index, name in enumerate(node.inputs):
        if TAKES_SIZES.get(node.op) == index:
            continue
        for entry in trace.sizes.get(name, ()):
            if isinstance(entry, Origin):
                keep(trace, entry, node.name)


def keep(trace: Trace, origin: Origin, where: str) -> None:
    atoms = trace.atoms(origin.tensor)
    if atoms is not None and origin.axis in carried(atoms):
        trace.ties.fix(atoms, f"how many they are goes into the arithmetic of '{where}'")
