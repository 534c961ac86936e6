"""A product of cut-out windows with a matrix in the place of a convolution of one channel along one axis (im2col).

Chellapilla, Puri & Simard, High Performance Convolutional Neural Networks for Document Processing, 2006. Kernels for
convolutions are written for many channels and small windows; such as begin networks that hear raw sound have one
channel and windows of hundreds of samples. Neighbouring windows share most of what they hold: each row holds several.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from onnx import NodeProto

from workers.engine.graph.graph import Array, name_of
from workers.engine.passes.substituting.convolution import PAST_BATCH_AND_CHANNELS, Convolution, convolution
from workers.engine.passes.substituting.replacement import Maker, Replacement
from workers.engine.passes.substituting.view import View, attributes

WIDE = 64
"""Windows from which on it may pay, in samples."""

NEIGHBOURS = 4
"""How many windows a row holds at most."""

MOST_BYTES = 64 * 2**20
NARROW = 16
"""Output channels below which the product is too thin to be worth the cutting out."""

LEAST_OPSET = 13
AFTER = frozenset(["Relu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Elu"])


def find(view: View) -> Iterator[Replacement]:
    """Convolutions of one input channel with a wide window along one axis of known length; other axes have length 1."""
    for node in view.nodes("Conv") if view.graph.opset >= LEAST_OPSET else ():
        found = convolution(view, node)
        into, out = view.shape(node.input[0]), view.shape(node.output[0])
        if found is None or into is None or out is None or not _is_thin(found.weight):
            continue
        windows = _Windows.of(found, into, out)
        if windows is not None and windows.width >= WIDE and windows.bytes <= MOST_BYTES:
            yield windows.multiplied(view)


def _is_thin(weight: Array) -> bool:
    return weight.shape[1] == 1 and len(weight) >= NARROW


@dataclass(frozen=True)
class _Windows:
    """The windows of a convolution: `axis` of its tensors is the one that they lie along."""

    found: Convolution
    axis: int
    out: tuple[int, ...]

    @classmethod
    def of(cls, found: Convolution, into: tuple[int, ...], out: tuple[int, ...]) -> Self | None:
        """None unless they lie along one axis."""
        first = PAST_BATCH_AND_CHANNELS
        wide = [place for place, size in enumerate(into[first:]) if size > 1]
        if len(wide) != 1 or len(into) != found.weight.ndim:
            return None
        axes = len(found.kernel)
        across = [place for place in range(axes) if place != wide[0]]
        bare = all(found.kernel[place] == 1 and found.pads[place] == found.pads[axes + place] == 0 for place in across)
        return cls(found, first + wide[0], out) if bare else None

    @property
    def width(self) -> int:
        return int(self.found.weight.shape[self.axis])

    @property
    def count(self) -> int:
        return self.out[self.axis]

    @property
    def neighbours(self) -> int:
        return next(number for number in range(NEIGHBOURS, 0, -1) if self.count % number == 0)

    @property
    def step(self) -> int:
        return self.found.strides[self.axis - PAST_BATCH_AND_CHANNELS]

    @property
    def span(self) -> int:
        """How many samples a row holds."""
        return self.width + self.step * (self.neighbours - 1)

    @property
    def bytes(self) -> int:
        """What the cut-out rows take, at batch 1."""
        return self.count // self.neighbours * self.span * 4

    def multiplied(self, view: View) -> Replacement:
        node, made = self.found.node, Maker(name_of(self.found.node))
        channels = len(self.found.weight)
        rows = made.add("Gather", self._padded(made), made.constant(self._places()), axis=1)
        product = made.add("MatMul", rows, made.constant(self._matrix()))
        if self.found.bias is not None:
            product = made.add("Add", product, made.constant(np.tile(self.found.bias, self.neighbours)))
        value = made.add("Reshape", product, made.ints(0, self.count, channels))
        value, after = _continued(view, made, value, node)
        gone = (node, *after)
        turned = made.add("Transpose", value, perm=[0, 2, 1])
        made.add("Reshape", turned, made.ints(0, *self.out[1:]), output=gone[-1].output[0])
        told = f"a product of {self.count // self.neighbours} rows of {self.span} samples with a matrix"
        return made.of(gone, told)

    def _padded(self, made: Maker) -> str:
        """The samples as [batch, length]."""
        flat = made.add("Reshape", self.found.node.input[0], made.ints(0, -1))
        place, axes = self.axis - PAST_BATCH_AND_CHANNELS, len(self.found.kernel)
        before, behind = self.found.pads[place], self.found.pads[axes + place]
        return made.add("Pad", flat, made.ints(0, before, 0, behind)) if before or behind else flat

    def _places(self) -> Array:
        """Which sample is where: [rows, span]."""
        begins = np.arange(self.count // self.neighbours) * self.step * self.neighbours
        return begins[:, None] + np.arange(self.span)

    def _matrix(self) -> Array:
        """[span, neighbours · out]: the kernel once for each of the neighbours, as many samples on as they are."""
        kernel = self.found.weight.reshape(len(self.found.weight), self.width).T
        matrix = np.zeros((self.span, self.neighbours, kernel.shape[1]), np.float32)
        for number in range(self.neighbours):
            matrix[number * self.step : number * self.step + self.width, number] = kernel
        return matrix.reshape(self.span, -1)


def _continued(view: View, made: Maker, value: str, node: NodeProto) -> tuple[str, list[NodeProto]]:
    """Do what follows to each channel while channels are last, where it costs nothing: the product's kernel does it."""
    after: list[NodeProto] = []
    while (reader := view.reader(node.output[0])) is not None:
        if reader.op_type in AFTER:
            value = made.add(reader.op_type, value, **attributes(reader))
        elif (normal := _scale_and_shift(view, reader)) is not None:
            scale, shift = (made.constant(values) for values in normal)
            value = made.add("Add", made.add("Mul", value, scale), shift)
        else:
            break
        after.append(reader)
        node = reader
    return value, after


def _scale_and_shift(view: View, node: NodeProto) -> tuple[Array, Array] | None:
    """What a BatchNormalization multiplies each channel by, and adds to it."""
    given = attributes(node)
    if node.op_type != "BatchNormalization" or given.get("training_mode", 0):
        return None
    read = [view.floats(name) for name in node.input[1:5]]
    known = [values for values in read if values is not None]
    if len(known) != len(read):
        return None
    scale, shift, mean, variance = (values.astype(np.float64) for values in known)
    factor = scale / np.sqrt(variance + given.get("epsilon", 1e-5))
    return factor.astype(np.float32), (shift - mean * factor).astype(np.float32)
