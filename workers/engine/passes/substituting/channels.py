"""The sum of several convolutions in the place of one with a very large kernel, each over some of the input channels.

Kernels hold a tile of the weights close to the processor; one that is larger than the tiles they were written for can
take many times as long as its parts together.
"""

from collections.abc import Iterator
from math import prod

import numpy as np

from workers.engine.graph.graph import name_of
from workers.engine.passes.substituting.convolution import Convolution, convolution
from workers.engine.passes.substituting.replacement import Maker, Replacement
from workers.engine.passes.substituting.view import View, attributes

LARGE = 16384
"""Weights of one output channel from which on a convolution is split."""

PART = 8192
"""How many of them a part has at most."""

LEAST_OPSET = 13
"""Before this, Split has the sizes elsewhere."""


def find(view: View) -> Iterator[Replacement]:
    """Ungrouped convolutions of so many channels and so wide a kernel."""
    for node in view.nodes("Conv") if view.graph.opset >= LEAST_OPSET else ():
        found = convolution(view, node)
        if found is not None and found.weight[0].size >= LARGE:
            count = _parts(found)
            if count > 1:
                yield _summed(found, count)


def _parts(found: Convolution) -> int:
    """The least number of equal parts that are small enough."""
    channels, width = found.weight.shape[1], prod(found.kernel)
    return next((n for n in range(1, channels + 1) if channels % n == 0 and channels // n * width <= PART), 1)


def _summed(found: Convolution, count: int) -> Replacement:
    """The first has the bias."""
    node, made = found.node, Maker(name_of(found.node))
    size = found.weight.shape[1] // count
    pieces = made.split(node.input[0], made.ints(*[size] * count), count)
    total = ""
    for number, (piece, weight) in enumerate(zip(pieces, np.split(found.weight, count, axis=1), strict=True), 1):
        inputs = [piece, made.constant(weight), *(node.input[2:] if number == 1 else [])]
        part = made.add("Conv", *inputs, **attributes(node))
        output = node.output[0] if number == count else None
        total = made.add("Add", total, part, output=output) if total else part
    return made.of((node,), f"the sum of {count} convolutions over {size} channels each")
