"""Ops that move values about without computing: what holds for the values holds for the atoms."""

import numpy as np

from workers.engine.graph.channels.atoms import Atoms, carried, spread
from workers.engine.graph.channels.sites import Count, Entry, Setting
from workers.engine.graph.channels.trace import LARGEST, Trace
from workers.engine.graph.ops.layout import cut_of
from workers.engine.graph.ops.node import Node


def transpose(trace: Trace, node: Node) -> None:
    atoms = trace.tensors[node.inputs[0]]
    trace.put(node.outputs[0], np.transpose(atoms, node.get("perm", None)))


def reshape(trace: Trace, node: Node) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze."""
    given, made = trace.shape(node.inputs[0]), trace.shape(node.outputs[0])
    atoms = trace.tensors[node.inputs[0]]
    if given is None or made is None or np.prod(given) > LARGEST:
        trace.ties.fix(atoms, f"the sizes of '{node.name}' are not known")
        return
    trace.put(node.outputs[0], spread(atoms, given).reshape(made))
    if node.op == "Reshape" and node.outputs[0] in trace.tensors:
        follow_sizes(trace, node, 1)


def follow_sizes(trace: Trace, node: Node, index: int) -> None:
    """Let the list of sizes at an input be right for the axes of the output that carry channels."""
    entries, atoms = trace.entries(node.inputs[index]), trace.tensors[node.outputs[0]]
    for axis in carried(atoms):
        trace.follow_size(node, axis, entries[axis] if entries and axis < len(entries) else None)


def concat(trace: Trace, node: Node) -> None:
    """Along an axis of channels they come one after the other; along another they are the same everywhere."""
    shapes = [trace.shape(name) for name in node.inputs]
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        trace.refuse(node.inputs, f"the sizes of '{node.name}' are not known")
        return
    axis = node.get("axis", 0) % len(known[0])
    live = [trace.tensors[name] for name in node.inputs if name in trace.tensors]
    if not any(axis in carried(atoms) for atoms in live):
        _alike(trace, node, live)
        return
    parts = [_part(trace, node, index, shape, axis) for index, shape in enumerate(known)]
    others = [max(lengths) for lengths in zip(*(part.shape for part in parts), strict=True)]
    shaped = [spread(part, (*others[:axis], part.shape[axis], *others[axis + 1 :])) for part in parts]
    trace.put(node.outputs[0], np.concatenate(shaped, axis))


def _alike(trace: Trace, node: Node, live: list[Atoms]) -> None:
    for other in live[1:]:
        trace.ties.tie(live[0], other)
    if len(live) < len(node.inputs):
        trace.ties.fix(live[0], f"'{node.name}' puts them beside what cannot be cut")
    trace.put(node.outputs[0], max(live, key=lambda atoms: len(carried(atoms))))


def _part(trace: Trace, node: Node, index: int, shape: tuple[int, ...], axis: int) -> Atoms:
    """The atoms of one input, told apart along the axis; what has none gets some that stay."""
    atoms = trace.atoms(node.inputs[index])
    if atoms is not None:
        full = [length if place == axis else atoms.shape[place] for place, length in enumerate(shape)]
        return spread(atoms, tuple(full))
    fresh = trace.ties.new(shape[axis])
    trace.ties.fix(fresh, f"'{node.inputs[index]}' cannot be cut")
    return fresh.reshape([-1 if place == axis else 1 for place in range(len(shape))])


def split(trace: Trace, node: Node) -> None:
    """Sizes are an input from opset 13 on, an attribute before; preparing the graph has made them explicit."""
    atoms, shapes = trace.tensors[node.inputs[0]], [trace.shape(name) for name in node.outputs]
    axis = node.get("axis", 0) % atoms.ndim
    known = [shape for shape in shapes if shape is not None]
    if axis not in carried(atoms):
        for name in node.outputs:
            trace.put(name, atoms)
        return
    sizes = node.inputs[1] if len(node.inputs) > 1 else ""
    if len(known) < len(shapes) or (sizes and sizes not in trace.graph.constants):
        trace.ties.fix(atoms, f"the sizes of '{node.name}' are computed")
        return
    ends = np.cumsum([shape[axis] for shape in known])[:-1]
    for position, (name, piece) in enumerate(zip(node.outputs, np.split(atoms, ends, axis), strict=True)):
        trace.put(name, piece)
        place = Entry(sizes, position) if sizes else Setting(node.outputs[0], "split", position)
        trace.counts.append(Count(name, axis, place))


def slice_(trace: Trace, node: Node) -> None:
    """Starts and ends along an axis of channels are counted anew."""
    atoms = trace.tensors[node.inputs[0]]
    starts, ends, axes, steps = (trace.ints(node, index) for index in (1, 2, 3, 4))
    if starts is None or ends is None or any(n and n not in trace.graph.constants for n in node.inputs[3:]):
        trace.ties.fix(atoms, f"the limits of '{node.name}' are computed")
        return
    out = atoms
    for place, axis in enumerate(axes if axes is not None else range(len(starts))):
        axis_, step = axis % atoms.ndim, 1 if steps is None else steps[place]
        if axis_ not in carried(atoms):
            continue
        if step != 1:
            trace.ties.fix(atoms, f"'{node.name}' takes every {step}th of them")
        length = atoms.shape[axis_]
        start, end, _ = cut_of(starts[place], ends[place], step).indices(length)
        index = np.arange(length)[cut_of(starts[place], ends[place], step)]
        out = out.take(index, axis_)
        if step == 1:
            trace.counts.append(Count(node.inputs[0], axis_, Entry(node.inputs[1], place), 0, start))
            trace.counts.append(Count(node.inputs[0], axis_, Entry(node.inputs[2], place), 0, end))
    trace.put(node.outputs[0], out)


def pad(trace: Trace, node: Node) -> None:
    """Constant channels that are added before and behind are channels too: fewer may be added."""
    atoms, pads = trace.tensors[node.inputs[0]], trace.ints(node, 1)
    if pads is None or (len(node.inputs) > 3 and node.inputs[3]):  # noqa: PLR2004 - given axes, from opset 18 on
        trace.ties.fix(atoms, f"the sizes of '{node.name}' are computed")
        return
    for axis in carried(atoms):
        before, behind = pads[axis], pads[axis + atoms.ndim]
        if (before or behind) and (min(before, behind) < 0 or node.get("mode", "constant") != "constant"):
            trace.ties.fix(atoms, f"'{node.name}' repeats or cuts some of them")
            return
        if before or behind:
            atoms = _padded(trace, node, atoms, axis, before, behind)
    trace.put(node.outputs[0], atoms)


def _padded(trace: Trace, node: Node, atoms: Atoms, axis: int, before: int, behind: int) -> Atoms:
    length, rank = atoms.shape[axis], atoms.ndim
    shape = [-1 if place == axis else 1 for place in range(rank)]
    around = [np.ones_like(atoms.take([0], axis)) * trace.ties.new(n).reshape(shape) for n in (before, behind)]
    name, last = node.outputs[0], before + length
    trace.counts.append(Count(name, axis, Entry(node.inputs[1], axis), 0, before))
    trace.counts.append(Count(name, axis, Entry(node.inputs[1], axis + rank), last, last + behind))
    return np.concatenate([around[0], atoms, around[1]], axis)


def depth_to_space(trace: Trace, node: Node) -> None:
    """[N, C · b², H, W] → [N, C, b · H, b · W]: b² channels become one."""
    vector, area = trace.along(node.inputs[0], 1), node.get("blocksize", 1) ** 2
    if vector is None:
        trace.refuse(node.inputs, f"'{node.name}' takes them in another order")
        return
    blocks = vector.reshape(area, -1).T if node.get("mode", "DCR") == "DCR" else vector.reshape(-1, area)
    trace.ties.tie(blocks, blocks[:, :1])
    trace.put(node.outputs[0], blocks[:, :1].reshape(1, -1, 1, 1))


def resize(trace: Trace, node: Node) -> None:
    """Axes of channels keep their length; sizes, where given, follow it."""
    atoms, made = trace.tensors[node.inputs[0]], trace.shape(node.outputs[0])
    given = trace.shape(node.inputs[0])
    if made is None or given is None or any(made[axis] != given[axis] for axis in carried(atoms)):
        trace.ties.fix(atoms, f"'{node.name}' resizes along them")
        return
    trace.put(node.outputs[0], atoms)
    if len(node.inputs) > 3 and node.inputs[3]:  # noqa: PLR2004 - sizes are the fourth input
        if node.get("axes", None) is not None:
            trace.ties.fix(atoms, f"'{node.name}' names its axes")
            return
        follow_sizes(trace, node, 3)


def tile(trace: Trace, node: Node) -> None:
    atoms, repeats = trace.tensors[node.inputs[0]], trace.ints(node, 1)
    if repeats is None or any(repeats[axis] != 1 for axis in carried(atoms)):
        trace.ties.fix(atoms, f"'{node.name}' repeats them")
        return
    trace.put(node.outputs[0], atoms)


def expand(trace: Trace, node: Node) -> None:
    """Channels stay what they are when other axes are repeated."""
    atoms, made = trace.tensors[node.inputs[0]], trace.shapes.get(node.outputs[0])
    if made is None:
        trace.ties.fix(atoms, f"the sizes of '{node.name}' are not known")
        return
    trace.put(node.outputs[0], atoms.reshape((1,) * (len(made) - atoms.ndim) + atoms.shape))
    entries, shift = trace.entries(node.inputs[1]), len(made)
    for axis in carried(trace.tensors.get(node.outputs[0], np.zeros((1,), np.int64))):
        place = axis - (shift - len(entries)) if entries else -1
        if place >= 0 or not entries:
            trace.follow_size(node, axis, entries[place] if entries else None)
