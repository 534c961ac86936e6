"""Random networks, grown one block at a time from the numbers that Hypothesis chooses, and what is done to them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tests.engine.models import Array
from workers.engine.graph.channels.groups import Channels
from workers.engine.graph.channels.sites import Role
from workers.engine.graph.graph import Graph

SIDE = 6


@dataclass
class Growing:
    """A network so far: `value` is the tensor [N, channels, SIDE, SIDE] that the next block takes."""

    seed: int
    channels: int = 3
    value: str = "x"
    nodes: list[NodeProto] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def weight(self, *shape: int) -> str:
        return self.constant((self.random.standard_normal(shape) * 0.5).astype(np.float32))

    def constant(self, values: Array) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = values
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: object) -> list[str]:
        names = [f"t{len(self.nodes)}.{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, f"{op}{len(self.nodes)}", **attributes))
        return names

    def then(self, op: str, *inputs: str, **attributes: object) -> None:
        (self.value,) = self.node(op, self.value, *inputs, **attributes)


def conv(net: Growing, channels: int = 8) -> None:
    kernel = net.weight(channels, net.channels, 3, 3)
    net.then("Conv", kernel, net.weight(channels), pads=[1, 1, 1, 1])
    net.channels = channels


def depthwise(net: Growing) -> None:
    kernel = net.weight(net.channels, 1, 3, 3)
    net.then("Conv", kernel, net.weight(net.channels), pads=[1, 1, 1, 1], group=net.channels)


def grouped(net: Growing) -> None:
    conv(net, 8)
    net.then("Conv", net.weight(16, 2, 1, 1), net.weight(16), group=4)
    net.channels = 16


def transposed(net: Growing) -> None:
    net.then("ConvTranspose", net.weight(net.channels, 6, 3, 3), net.weight(6), pads=[1, 1, 1, 1])
    net.channels = 6


def batch_norm(net: Growing) -> None:
    scale, shift, mean = (net.weight(net.channels) for _ in range(3))
    net.then("BatchNormalization", scale, shift, mean, net.constant(np.ones(net.channels, np.float32)))


def instance_norm(net: Growing) -> None:
    net.then("InstanceNormalization", net.weight(net.channels), net.weight(net.channels))


def group_norm(net: Growing) -> None:
    """As PyTorch exports it: one instance per group, then a scale for each channel."""
    conv(net, 8)
    net.then("Reshape", net.ints(0, 4, -1))
    net.then("InstanceNormalization", net.weight(4), net.weight(4))
    net.then("Reshape", net.ints(-1, 8, SIDE, SIDE))
    net.then("Mul", net.weight(8, 1, 1))


def layer_norm_over_space(net: Growing) -> None:
    net.then("LayerNormalization", net.weight(SIDE, SIDE), axis=2)


def activation(net: Growing) -> None:
    net.then(["Relu", "Sigmoid", "HardSwish", "Tanh"][int(net.random.integers(4))])


def per_channel_scale(net: Growing) -> None:
    net.then("Mul", net.weight(1, net.channels, 1, 1))
    net.then("Add", net.weight(net.channels, 1, 1))
    net.then("PRelu", net.weight(net.channels, 1, 1))


def residual(net: Growing) -> None:
    conv(net)
    start, before = net.value, net.channels
    activation(net)
    conv(net, before)
    net.then(["Add", "Mul", "Sub"][int(net.random.integers(3))], start)


def dense(net: Growing) -> None:
    conv(net, 4)
    start = net.value
    conv(net, 6)
    net.then("Concat", start, axis=1)
    net.channels = 10


def split_and_swap(net: Growing) -> None:
    conv(net, 8)
    pieces = net.node("Split", net.value, net.ints(3, 5), outputs=2, axis=1)
    (net.value,) = net.node("Concat", pieces[1], pieces[0], axis=1)


def halves(net: Growing) -> None:
    """A gated unit: the first half of the channels times the sigmoid of the second."""
    conv(net, 12)
    first, second = net.node("Split", net.value, outputs=2, axis=1, num_outputs=2)
    (gate,) = net.node("Sigmoid", second)
    (net.value,) = net.node("Mul", first, gate)
    net.channels = 6


def slices(net: Growing) -> None:
    conv(net, 9)
    net.then("Slice", net.ints(2), net.ints(2**62), net.ints(1))
    net.channels = 7


def chosen(net: Growing) -> None:
    conv(net, 6)
    net.then("Gather", net.ints(4, 0, -1, 2), axis=1)
    net.channels = 4


def padded(net: Growing) -> None:
    conv(net, 5)
    net.then("Pad", net.ints(0, 1, 0, 0, 0, 2, 0, 0))
    net.channels = 8


def shuffled(net: Growing) -> None:
    conv(net, 8)
    net.then("Reshape", net.ints(0, 2, 4, SIDE, SIDE))
    net.then("Transpose", perm=[0, 2, 1, 3, 4])
    net.then("Reshape", net.ints(0, 8, SIDE, SIDE))


def pixel_shuffle(net: Growing) -> None:
    conv(net, 8)
    net.then("DepthToSpace", blocksize=2)
    net.then("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    net.channels = 2


def squeeze_excite(net: Growing) -> None:
    conv(net)
    start = net.value
    net.then("GlobalAveragePool")
    net.then("Conv", net.weight(4, net.channels, 1, 1), net.weight(4))
    net.then("Relu")
    net.then("Conv", net.weight(net.channels, 4, 1, 1), net.weight(net.channels))
    net.then("Sigmoid")
    net.then("Mul", start)


def resized(net: Growing) -> None:
    net.then("Resize", "", net.constant(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    net.then("MaxPool", kernel_shape=[2, 2], strides=[2, 2])


def channels_last(net: Growing) -> None:
    conv(net)
    net.then("Transpose", perm=[0, 2, 3, 1])
    net.then("MatMul", net.weight(net.channels, 5))
    net.then("Add", net.weight(5))
    net.then("Relu")
    net.then("MatMul", net.weight(5, 7))
    net.then("Transpose", perm=[0, 3, 1, 2])
    net.channels = 7


def attention(net: Growing) -> None:
    """Four heads of 3 over the places of the image; queries, keys and values from one product."""
    conv(net)
    net.then("Reshape", net.ints(0, net.channels, -1))
    net.then("Transpose", perm=[0, 2, 1])
    net.then("MatMul", net.weight(net.channels, 36))
    net.then("Reshape", net.ints(0, -1, 3, 4, 3))
    net.then("Transpose", perm=[2, 0, 3, 1, 4])
    query, key, value = (net.node("Gather", net.value, net.constant(np.array(i)), axis=0)[0] for i in range(3))
    (turned,) = net.node("Transpose", key, perm=[0, 1, 3, 2])
    (scores,) = net.node("MatMul", query, turned)
    (weights,) = net.node("Softmax", scores, axis=-1)
    (net.value,) = net.node("MatMul", weights, value)
    net.then("Transpose", perm=[0, 2, 1, 3])
    net.then("Reshape", net.ints(0, -1, 12))
    net.then("MatMul", net.weight(12, 8))
    net.then("Transpose", perm=[0, 2, 1])
    net.then("Reshape", net.ints(0, 8, SIDE, SIDE))
    net.channels = 8


def recurrent(net: Growing, op: str, gates: int, hidden: int, directions: int) -> None:
    """Over the places of the image; the outputs of both directions side by side."""
    net.then("Reshape", net.ints(0, net.channels, -1))
    net.then("Transpose", perm=[2, 0, 1])
    net.then(
        op,
        net.weight(directions, gates * hidden, net.channels),
        net.weight(directions, gates * hidden, hidden),
        net.weight(directions, 2 * gates * hidden),
        hidden_size=hidden,
        direction="forward" if directions == 1 else "bidirectional",
    )
    net.then("Transpose", perm=[2, 1, 3, 0])
    net.then("Reshape", net.ints(0, directions * hidden, SIDE, SIDE))
    net.channels = directions * hidden


def lstm(net: Growing) -> None:
    recurrent(net, "LSTM", gates=4, hidden=6, directions=1)


def both_ways(net: Growing) -> None:
    recurrent(net, "GRU", gates=3, hidden=4, directions=2)


def unknown(net: Growing) -> None:
    net.then("LpNormalization", axis=1)


BLOCKS: tuple[Callable[[Growing], None], ...] = (
    conv, depthwise, grouped, transposed, batch_norm, instance_norm, group_norm, layer_norm_over_space, activation,
    per_channel_scale, residual, dense, split_and_swap, halves, slices, chosen, padded, shuffled, pixel_shuffle,
    squeeze_excite, resized, channels_last, attention, lstm, both_ways, unknown,
)  # fmt: skip


def flat_head(net: Growing) -> None:
    net.then("Flatten")
    net.then("Gemm", net.weight(net.channels * SIDE**2, 9), net.weight(9))
    net.then("Relu")
    net.then("Gemm", net.weight(4, 9), net.weight(4), transB=1)


def mean_head(net: Growing) -> None:
    net.then("ReduceMean", net.ints(2, 3), keepdims=0)
    net.then("MatMul", net.weight(net.channels, 4))


def grown(blocks: Collection[int], *, flat: bool, seed: int) -> Graph:
    """A network x [N, 3, SIDE, SIDE] → y [N, 4] of these blocks by number."""
    net = Growing(seed)
    conv(net)
    for number in blocks:
        BLOCKS[number](net)
    (flat_head if flat else mean_head)(net)
    net.nodes[-1].output[0] = "y"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])
    stored = [numpy_helper.from_array(values, name) for name, values in net.weights.items()]
    graph = helper.make_graph(net.nodes, "g", [x], [y], stored)
    return Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))


def silenced(channels: Channels, units: Collection[int], *, roles: Collection[Role]) -> Graph:
    """The prepared graph with all slices of these units, in these roles, set to zero."""
    graph = channels.graph.copy()
    for each in channels.slices:
        if each.site.role in roles:
            values = np.moveaxis(np.array(graph.weight(each.site.constant)), each.axis, 0)
            values[np.isin(each.units, list(units))] = 0
            graph.set_weight(each.site.constant, np.moveaxis(values, 0, each.axis))
    return graph
