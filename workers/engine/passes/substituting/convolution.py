"""What rules about convolutions ask of one."""

from dataclasses import dataclass

from onnx import NodeProto

from workers.engine.graph.graph import Array
from workers.engine.passes.substituting.view import View, attributes

PAST_BATCH_AND_CHANNELS = 2


@dataclass(frozen=True)
class Convolution:
    """An ungrouped convolution with constant weights [out, in, *kernel], without dilation or automatic padding."""

    node: NodeProto
    weight: Array
    bias: Array | None
    strides: tuple[int, ...]
    pads: tuple[int, ...]

    @property
    def kernel(self) -> tuple[int, ...]:
        return self.weight.shape[PAST_BATCH_AND_CHANNELS:]


def convolution(view: View, node: NodeProto) -> Convolution | None:
    """None where it is of another kind."""
    given, weight = attributes(node), view.floats(node.input[1])
    bias = next((name for name in node.input[2:] if name), None)
    values = view.floats(bias) if bias else None
    plain = given.get("group", 1) == 1 and given.get("auto_pad", b"NOTSET") == b"NOTSET"
    if weight is None or not plain or (bias and values is None) or {*given.get("dilations", [1])} != {1}:
        return None
    axes = weight.ndim - PAST_BATCH_AND_CHANNELS
    strides, pads = given.get("strides", [1] * axes), given.get("pads", [0] * 2 * axes)
    return Convolution(node, weight, values, tuple(strides), tuple(pads))
