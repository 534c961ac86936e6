"""A 1 × 1 convolution and a rearrangement in the place of a transposed convolution whose windows do not overlap.

Each pixel then makes a square of the output of its own: the convolution makes the square's pixels as channels, and
depth-to-space puts them in their places (sub-pixel convolution, Shi et al. 2016).
"""

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto

from workers.engine.graph.graph import Array, name_of
from workers.engine.passes.substituting.replacement import Maker, Replacement
from workers.engine.passes.substituting.view import View, attributes

PLAIN = {"group": 1, "dilations": [1, 1], "pads": [0, 0, 0, 0], "output_padding": [0, 0], "auto_pad": b"NOTSET"}
KERNEL_RANK = 4


def find(view: View) -> Iterator[Replacement]:
    """Transposed convolutions in two dimensions with square kernels as wide as their stride."""
    for node in view.nodes("ConvTranspose"):
        weight = view.floats(node.input[1])
        if weight is not None and weight.ndim == KERNEL_RANK and _is_apart(node, weight):
            yield from _rearranged(view, node, weight)


def _is_apart(node: NodeProto, weight: Array) -> bool:
    """Whether windows neither overlap nor leave gaps, and nothing is cut off."""
    given, (height, width) = attributes(node), weight.shape[2:]
    plain = all(given.get(name, value) == value for name, value in PLAIN.items()) and "output_shape" not in given
    return plain and height == width and given.get("strides") == [height, width]


def _rearranged(view: View, node: NodeProto, weight: Array) -> Iterator[Replacement]:
    """Channels in the order that DepthToSpace calls CRD: the output's channel, then row and column of the square."""
    channels, _, width, _ = weight.shape
    made, bias = Maker(name_of(node)), [view.floats(name) for name in node.input[2:] if name]
    kernel = weight.transpose(1, 2, 3, 0).reshape(-1, channels, 1, 1)
    repeated = [made.constant(np.repeat(values, width * width)) for values in bias if values is not None]
    if len(repeated) != len(bias):
        return  # a bias that is computed
    wide = made.add("Conv", node.input[0], made.constant(kernel), *repeated, kernel_shape=[1, 1])
    made.add("DepthToSpace", wide, output=node.output[0], blocksize=width, mode="CRD")
    yield made.of((node,), f"a 1 × 1 convolution to {len(kernel)} channels, put in their places")
