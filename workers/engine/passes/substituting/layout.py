"""A concatenation in the order of axes that is asked for after it.

Models that come from frameworks with channels last stack tensors along a new last axis and turn the stack afterwards.
Stacked along the axis that it will lie on, what was to be turned is copied in whole runs, and nothing is turned.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from onnx import NodeProto

from workers.engine.graph.graph import name_of
from workers.engine.passes.substituting.replacement import Maker, Replacement
from workers.engine.passes.substituting.view import View, attributes

LEAST_OPSET = 10
"""Before this, Slice has its places elsewhere."""


def find(view: View) -> Iterator[Replacement]:
    """Transposes of a concatenation, with cuts between or not, of tensors in which the turn moves axes of length 1."""
    for node in view.nodes("Transpose") if view.graph.opset >= LEAST_OPSET else ():
        cuts: list[NodeProto] = []
        tensor = node.input[0]
        while (cut := view.inside(tensor, "Slice")) is not None and _is_fixed(view, cut):
            cuts.insert(0, cut)
            tensor = cut.input[0]
        stack = view.inside(tensor, "Concat")
        if stack is not None:
            yield from _turned(view, stack, cuts, node)


def _is_fixed(view: View, cut: NodeProto) -> bool:
    """Whether it says which axes it cuts, all in constants."""
    return len(cut.input) > 3 and all(view.constant(name) is not None for name in cut.input[1:] if name)  # noqa: PLR2004 - data, starts, ends, axes


def _turned(view: View, stack: NodeProto, cuts: Sequence[NodeProto], turn: NodeProto) -> Iterator[Replacement]:
    order = list(attributes(turn).get("perm", ()))
    shapes = [view.shape(name) for name in stack.input]
    known = [shape for shape in shapes if shape is not None]
    if len(known) != len(shapes) or not order or order[0] != 0 or not all(_stays(shape, order) for shape in known):
        return
    made = Maker(name_of(turn))
    parts = [
        made.add("Reshape", name, made.ints(0, *(shape[axis] for axis in order[1:])))
        for name, shape in zip(stack.input, known, strict=True)
    ]
    rank = len(order)
    outputs = [None] * len(cuts) + [turn.output[0]]
    axis = order.index(attributes(stack)["axis"] % rank)
    value = made.add("Concat", *parts, output=outputs[0], axis=axis)
    for cut, output in zip(cuts, outputs[1:], strict=True):
        axes = view.graph.weight(cut.input[3])
        places = made.constant(np.array([order.index(int(each) % rank) for each in axes], axes.dtype))
        value = made.add("Slice", value, *cut.input[1:3], places, *cut.input[4:], output=output)
    yield made.of((stack, *cuts, turn), f"a concatenation of {len(parts)} tensors that were turned before")


def _stays(shape: tuple[int, ...], order: Sequence[int]) -> bool:
    """Whether the turn leaves values where they are in memory. The first axis is the batch, of whatever length."""
    moved = [axis for axis in order if axis == 0 or shape[axis] > 1]
    return moved == sorted(moved)
