"""Move outliers from the activations of matrix products into their weights, which changes no output.

Xiao, Lin, Seznec, Wu, Demouth, Han: SmoothQuant (ICML 2023), equations 3 and 4: x·W = (x / s)·(s·W), with
s_j = max|x_j|^α / max|W_j|^(1 - α) for input channel j. Dividing by s is folded into what makes x where that is a
normalization, a linear layer or a constant factor; elsewhere it is a Mul of its own.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from whetstone.calibration.arrays import Batches
from whetstone.contract.quantization import Smooth
from workers.engine.graph.graph import Graph, attribute, name_of
from workers.engine.graph.layers import MATRIX_RANK, Layer, layers_of
from workers.engine.graph.readers import is_read_once
from workers.engine.passes.quantizing.folding import fold_factor, places_for_factor
from workers.engine.passes.quantizing.ranges import with_shapes
from workers.engine.passes.quantizing.watching import in_groups, values_of

ALPHAS = tuple(step / 10 for step in range(1, 10))
ROWS = 512
"""Rows of an input that the error of an α is told on."""
WORTH, WORTH_A_NODE = 0.95, 0.5
"""An α must bring the error of a layer below this share of what it is without; the latter, where it costs a Mul."""
STRONGEST = 1e5
"""No channel is divided by more, nor by less than its inverse."""
LEVELS = 255
SMALLEST = 1e-12

Floats = NDArray[np.float32]


@dataclass
class Seen:
    """What calibration samples show of a tensor: extremes per channel, and a few rows."""

    low: Floats
    high: Floats
    rows: list[Floats] = field(default_factory=list)

    def add(self, values: Floats, rows: int) -> None:
        """Take in values [..., K], of which `rows` rows, evenly spaced, are kept."""
        flat = values.reshape(-1, values.shape[-1])
        self.low, self.high = np.minimum(self.low, flat.min(0)), np.maximum(self.high, flat.max(0))
        if rows:
            places = np.linspace(0, len(flat) - 1, min(rows, len(flat))).astype(np.int64)
            self.rows.append(flat[places].copy())

    @property
    def largest(self) -> Floats:
        return np.maximum(np.abs(self.low), np.abs(self.high))


@dataclass(frozen=True)
class Smoothed:
    """What was done to the layers that read one tensor. `alpha` is None where nothing helped; `mul` names the node that
    was added where dividing could not be folded, `into` the one that it was folded into.
    """

    layers: tuple[Layer, ...]
    outliers: float
    alpha: float | None
    into: str = ""
    mul: str = ""


def products(graph: Graph, exclude: Container[str]) -> dict[str, list[Layer]]:
    """Layers x·W with a constant matrix that nobody else reads, by the tensor x that they read."""
    found: dict[str, list[Layer]] = {}
    for layer in layers_of(graph):
        node = graph.find(layer.name)
        if node is None or layer.op not in ("MatMul", "Gemm") or node.input[1] != layer.weight:
            continue
        matrix = len(layer.shape) == MATRIX_RANK and graph.dtype(layer.weight) == "float32"
        usual = not attribute(node, "transA", 0) and node.input[0] not in graph.constants
        if matrix and usual and layer.name not in exclude and is_read_once(graph, layer.weight):
            found.setdefault(node.input[0], []).append(layer)
    return found


def observe(
    graph: Graph, tensors: Sequence[str], batches: Batches, count: int, scratch: Path, threads: int
) -> dict[str, Seen]:
    """Stream the samples once per group of tensors; `count` batches there are. Raises CalibrationFailed."""
    model, seen = with_shapes(graph), dict[str, Seen]()
    rows, every = max(1, -(-ROWS // max(count, 1))), max(1, count // ROWS)
    for names in in_groups(model, tensors, batches, scratch, threads):
        for number, batch in enumerate(values_of(model, names, batches, scratch, threads)):
            for name, values in batch.items():
                width = values.shape[-1]
                start = Seen(np.full(width, np.inf, np.float32), np.full(width, -np.inf, np.float32))
                seen.setdefault(name, start).add(np.asarray(values, np.float32), 0 if number % every else rows)
    return seen


def smooth(
    graph: Graph, groups: Mapping[str, list[Layer]], seen: Mapping[str, Seen], config: Smooth, *, per_channel: bool
) -> list[Smoothed]:
    """Divide and multiply in place, tensor by tensor."""
    return [
        _smooth_one(graph, tensor, layers, seen[tensor], config.alpha, per_channel=per_channel)
        for tensor, layers in groups.items()
    ]


def _inputs_first(graph: Graph, layer: Layer) -> Floats:
    """The weight as [K, N]."""
    weight = np.asarray(graph.weight(layer.weight), np.float32)
    return weight.T if _is_turned(graph, layer) else weight


def _is_turned(graph: Graph, layer: Layer) -> bool:
    node = graph.find(layer.name)
    return node is not None and layer.op == "Gemm" and bool(attribute(node, "transB", 0))


def _smooth_one(
    graph: Graph, tensor: str, layers: list[Layer], seen: Seen, alpha: float | None, *, per_channel: bool
) -> Smoothed:
    weights = [_inputs_first(graph, layer) for layer in layers]
    largest = seen.largest
    outliers = float(largest.max() / max(float(np.median(largest)), SMALLEST))
    names = [layer.name for layer in layers]
    places = places_for_factor(graph, tensor, names, len(largest))
    if alpha is None:
        alpha = _best_alpha(seen, weights, WORTH if places else WORTH_A_NODE, per_channel=per_channel)
    if alpha is None:
        return Smoothed(tuple(layers), outliers, None)
    scale = _scale(seen, weights, alpha)
    inverse = np.asarray(1 / scale, np.float32)
    for layer, weight in zip(layers, weights, strict=True):
        scaled = weight * scale[:, None]
        graph.set_weight(layer.weight, scaled.T if _is_turned(graph, layer) else scaled)
    if places:
        return Smoothed(tuple(layers), outliers, alpha, into=fold_factor(graph, places, inverse))
    return Smoothed(tuple(layers), outliers, alpha, mul=_insert(graph, tensor, names, inverse))


def _scale(seen: Seen, weights: Sequence[Floats], alpha: float) -> Floats:
    """Equation 4, for weights that share their input: the largest of them counts."""
    strongest = np.max([np.abs(weight).max(1) for weight in weights], axis=0)
    used = (seen.largest > SMALLEST) & (strongest > SMALLEST)
    activations, strengths = np.where(used, seen.largest, 1), np.where(used, strongest, 1)
    scale = activations**alpha / strengths ** (1 - alpha)
    return np.asarray(scale.clip(1 / STRONGEST, STRONGEST), np.float32)


def _rounded(values: Floats, low: Floats | float, high: Floats | float) -> Floats:
    """To the nearest of LEVELS + 1 levels between low and high, zero being one of them."""
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    step = np.maximum((high - low) / LEVELS, SMALLEST)
    return np.asarray(np.rint(values / step) * step, np.float32)


def _error(seen: Seen, weights: Sequence[Floats], scale: Floats, *, per_channel: bool) -> float:
    """The squared error at the layers' outputs with 8 bits for both factors."""
    rows = np.concatenate(seen.rows)
    low, high = float((seen.low / scale).min()), float((seen.high / scale).max())
    rounded, error = _rounded(rows / scale, low, high), 0.0
    for weight in weights:
        scaled = weight * scale[:, None]
        limit = np.abs(scaled).max(0, keepdims=True) if per_channel else np.abs(scaled).max()
        error += float(((rounded @ _rounded(scaled, -limit, limit) - rows @ weight) ** 2).sum())
    return error


def _best_alpha(seen: Seen, weights: Sequence[Floats], worth: float, *, per_channel: bool) -> float | None:
    """The α with the least error; None where that is not below `worth` times the error without any."""
    without = _error(seen, weights, np.ones(len(seen.low), np.float32), per_channel=per_channel)
    errors = {a: _error(seen, weights, _scale(seen, weights, a), per_channel=per_channel) for a in ALPHAS}
    best = min(errors, key=errors.__getitem__)
    return best if errors[best] < worth * without else None


def _insert(graph: Graph, tensor: str, readers: Sequence[str], factor: Floats) -> str:
    """Put a Mul between a tensor and the layers that read it. Returns its name."""
    name, made = f"{tensor}_smoothing", f"{tensor}_smoothed"
    graph.model.graph.initializer.append(numpy_helper.from_array(factor, f"{tensor}_smoothing_factor"))
    nodes = graph.model.graph.node
    first = next(index for index, node in enumerate(nodes) if name_of(node) in readers)
    nodes.insert(first, helper.make_node("Mul", [tensor, f"{tensor}_smoothing_factor"], [made], name))
    for node in nodes:
        if name_of(node) in readers:
            node.input[0] = made
    graph.reindex()
    return name


def read_unrounded(before: Graph, after: Graph, names: Sequence[str]) -> None:
    """Let the added Muls read what reaches them before it is rounded to 8 bits; in place, on the quantized graph.

    Rounding an outlier and its neighbours together is what smoothing is to avoid.
    """
    for name in names:
        node, original = after.find(name), before.find(name)
        if node is None or original is None:
            continue
        dequantize = after.producer(node.input[0])
        quantize = after.producer(dequantize.input[0]) if dequantize is not None else None
        maker, made = before.producer(original.input[0]), after.producer(original.input[0])
        if quantize is not None and quantize.op_type == "QuantizeLinear" and _same(maker, made):
            node.input[0] = quantize.input[0]
    after.reindex()


def _same(one: NodeProto | None, other: NodeProto | None) -> bool:
    return one is None if other is None else one is not None and one.op_type == other.op_type
