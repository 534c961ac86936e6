"""Even out the ranges of channels between neighbouring layers, which changes no output.

Nagel, van Baalen, Blankevoort, Welling: Data-Free Quantization Through Weight Equalization and Bias Correction (ICCV
2019), section 4.1: where f(sx) = s·f(x) for s > 0, channel i of W1 can be divided by s_i and channel i of W2 be
multiplied by it. With s_i = sqrt(r1_i / r2_i), r the largest magnitude in a channel, both get the range
sqrt(r1_i · r2_i).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.engine.graph.graph import DEFAULT_DOMAINS, Graph, attribute, name_of
from workers.engine.graph.layers import MATRIX_RANK, Layer, layers_of
from workers.engine.graph.readers import is_read_once, only_reader
from workers.engine.passes.quantizing.biases import Bias, bias_of, change_bias

OPS = ("Conv", "Gemm", "MatMul")
ELEMENTWISE = frozenset({"Relu", "LeakyRelu", "PRelu", "Identity"})
OF_IMAGES = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Flatten"})
"""What lets a factor pass where channels are the second axis."""
ROUNDS = 40
SETTLED = 1e-3
LARGEST = 1e6
"""No channel is scaled by more, either way."""

Ranges = NDArray[np.float64]
"""The largest magnitude per channel."""


@dataclass(frozen=True)
class Pair:
    """Two layers with nothing between them that a positive factor does not pass."""

    first: Layer
    second: Layer


def pairs_of(graph: Graph) -> tuple[Pair, ...]:
    """The pairs in the order they run; both weights, and what is between, are read by nobody else."""
    layers = {layer.name: layer for layer in layers_of(graph) if _is_ours(graph, layer)}
    found = ((layer, _next(graph, layer)) for layer in layers.values())
    return tuple(Pair(first, layers[name]) for first, name in found if name in layers)


def _is_ours(graph: Graph, layer: Layer) -> bool:
    node = graph.find(layer.name)
    if node is None or node.op_type not in OPS or node.input[1] != layer.weight:
        return False
    shaped = node.op_type == "Conv" or len(layer.shape) == MATRIX_RANK
    return (
        shaped
        and is_read_once(graph, layer.weight)
        and graph.dtype(layer.weight) == "float32"
        and not attribute(node, "transA", 0)
    )


def _next(graph: Graph, layer: Layer) -> str:
    """The name of the layer that reads nothing but this one's channels; empty if there is none."""
    bias, node = bias_of(graph, layer), graph.find(layer.name)
    if node is None or (isinstance(bias, str) and layer.op != "MatMul"):
        return ""
    tensor = bias.node.output[0] if isinstance(bias, Bias) else node.output[0]
    passing = ELEMENTWISE | OF_IMAGES if layer.op == "Conv" else ELEMENTWISE
    flat = False
    while (reader := only_reader(graph, tensor)) is not None and reader.domain in DEFAULT_DOMAINS:
        if reader.op_type in OPS:
            fits = (layer.op == "Conv" and not flat) == (reader.op_type == "Conv")
            return name_of(reader) if fits and reader.input[0] == tensor else ""
        if reader.op_type not in passing or reader.input[0] != tensor:
            return ""
        if reader.op_type == "Flatten" and attribute(reader, "axis", 1) != 1:
            return ""
        flat = flat or reader.op_type == "Flatten"
        tensor = reader.output[0]
    return ""


def _outputs_first(graph: Graph, layer: Layer) -> tuple[Ranges, bool]:
    """The weight with its output channels along axis 0, and whether that took a transpose."""
    node, weight = graph.find(layer.name), np.asarray(graph.weight(layer.weight), np.float64)
    turned = layer.op == "MatMul" or (node is not None and layer.op == "Gemm" and not attribute(node, "transB", 0))
    return (weight.T if turned else weight), turned


def _by_input(graph: Graph, layer: Layer, weight: Ranges, channels: int) -> Ranges:
    """The weight as [groups, outputs, inputs of a group, rest], inputs in the order of the channels that they are."""
    node = graph.find(layer.name)
    if layer.op == "Conv" and node is not None:
        groups = attribute(node, "group", 1)
        return weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return weight.reshape(1, weight.shape[0], channels, -1)  # a Flatten repeats each channel


def _store(graph: Graph, layer: Layer, weight: Ranges, *, turned: bool) -> None:
    graph.set_weight(layer.weight, (weight.T if turned else weight).astype(np.float32))


def _even_out(graph: Graph, pair: Pair) -> float:
    """Scale one pair. Returns by how much the most changed channel was scaled, 1 for not at all."""
    first, first_turned = _outputs_first(graph, pair.first)
    second, second_turned = _outputs_first(graph, pair.second)
    channels = first.shape[0]
    by_input = _by_input(graph, pair.second, second, channels)
    r1 = np.abs(first.reshape(channels, -1)).max(1)
    r2 = np.abs(by_input).max((1, 3)).reshape(-1)
    used = (r1 > 0) & (r2 > 0)
    scale = np.sqrt(np.divide(r1, r2, out=np.ones(channels), where=used)).clip(1 / LARGEST, LARGEST)
    _store(graph, pair.first, first / scale.reshape(-1, *[1] * (first.ndim - 1)), turned=first_turned)
    grown = by_input * scale.reshape(by_input.shape[0], 1, by_input.shape[2], 1)
    _store(graph, pair.second, grown.reshape(second.shape), turned=second_turned)
    bias = bias_of(graph, pair.first)
    if isinstance(bias, Bias) and bias.tensor:
        change_bias(graph, bias, 1 / scale, 0.0)
    return float(np.maximum(scale, 1 / scale).max())


def spread(graph: Graph, layer: Layer) -> float:
    """How many times larger the largest output channel is than the median one."""
    weight, _ = _outputs_first(graph, layer)
    ranges = np.abs(weight.reshape(weight.shape[0], -1)).max(1)
    middle = float(np.median(ranges[ranges > 0])) if ranges.any() else 0.0
    return float(ranges.max()) / middle if middle else 1.0


def equalize(graph: Graph, pairs: Sequence[Pair]) -> None:
    """Scale all pairs in place, in rounds, until none changes any more: a depthwise layer is in two of them."""
    for _ in range(ROUNDS):
        if max((_even_out(graph, pair) for pair in pairs), default=1.0) < 1 + SETTLED:
            return
