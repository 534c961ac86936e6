"""The range of every activation over the calibration samples, by onnxruntime, in constant memory."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, helper

from whetstone.contract.quantization import Calibrator
from workers.engine.graph.graph import Array, Graph
from workers.engine.passes.errors import CalibrationFailed
from workers.engine.passes.quantizing.histograms import Histogram
from workers.engine.passes.quantizing.watching import (
    Batches,
    in_groups,
    session_of,
    show,
    values_of,
    without_outputs,
)

Ranges = dict[str, tuple[float, float]]
"""Lowest and highest value by tensor name."""

LOWEST, HIGHEST, TOTAL = "whetstone_lowest/", "whetstone_highest/", "whetstone_total/"
MASKED = -1e4
"""Logits as low as this have no chance whatever the others are."""
MASKING = frozenset({
    "Add", "Sub", "Mul", "Where", "Unsqueeze", "Squeeze", "Reshape", "Expand", "Transpose", "Identity", "Concat",
    "Slice",
})  # fmt: skip
"""How a mask is made, shaped and laid over scores."""
MOMENTUM = 0.9
"""How much a moving average keeps of what it was."""


def _float_tensors(model: ModelProto) -> list[str]:
    """Computed float32 tensors and inputs, as far as shape inference knows their type."""
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    values = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    return [
        name
        for name, value in values.items()
        if name not in stored and value.type.tensor_type.elem_type == TensorProto.FLOAT
    ]


def _with_extremes(model: ModelProto, names: list[str]) -> ModelProto:
    """The model with the minimum, the maximum and the sum of each tensor as its only outputs, not a whole tensor.

    The sum is for NaN: minima and maxima of a tensor with a single one may well be numbers.
    """
    watched = without_outputs(model)
    for name in names:
        for op, prefix in (("ReduceMin", LOWEST), ("ReduceMax", HIGHEST), ("ReduceSum", TOTAL)):
            made = f"{prefix}{name}"
            watched.graph.node.append(helper.make_node(op, [name], [made], name=made, keepdims=0))
            show(watched, made, [])
    return watched


def _extremes(made: Mapping[str, Array]) -> Iterator[tuple[str, float, float]]:
    """Raises CalibrationFailed where a tensor is NaN."""
    for key, low in made.items():
        if key.startswith(LOWEST):
            name = key.removeprefix(LOWEST)
            lowest, highest, total = (float(value) for value in (low, made[f"{HIGHEST}{name}"], made[f"{TOTAL}{name}"]))
            bounded = not (math.isinf(lowest) or math.isinf(highest))  # else the sum may be NaN for that
            if math.isnan(lowest) or math.isnan(highest) or (bounded and math.isnan(total)):
                raise CalibrationFailed(f"'{name}' becomes NaN on a calibration sample.", layer=name)
            yield name, lowest, highest


def _widened(before: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    return min(before[0], low), max(before[1], high)


def _averaged(before: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    return MOMENTUM * before[0] + (1 - MOMENTUM) * low, MOMENTUM * before[1] + (1 - MOMENTUM) * high


def find_ranges(
    model: ModelProto,
    batches: Batches,
    scratch: Path,
    threads: int,
    calibrator: Calibrator = Calibrator.MINMAX,
    percentile: float = 100.0,
) -> Ranges:
    """Ranges to quantize the float tensors of a model in, whose shapes are inferred: not masks, nor what is infinite.

    Extremes need two numbers per tensor and run; histograms a second pass with the values of a few tensors at a time.
    Neither depends on the number of samples. Raises CalibrationFailed.
    """
    found = find_extremes(model, batches, scratch, threads, averaged=calibrator is Calibrator.MOVING_AVERAGE)
    masks = masks_of(Graph(model), found)
    found = {name: limits for name, limits in found.items() if name not in masks}
    if calibrator in (Calibrator.MINMAX, Calibrator.MOVING_AVERAGE):
        return found
    return _by_histogram(model, batches, scratch, threads, found, calibrator, percentile)


def find_extremes(
    model: ModelProto, batches: Batches, scratch: Path, threads: int, *, averaged: bool = False
) -> Ranges:
    """The lowest and highest value of each float tensor, or their moving averages. Raises CalibrationFailed.

    Infinite ones are left out.
    """
    merge = _averaged if averaged else _widened
    found: Ranges = {}
    with session_of(_with_extremes(model, _float_tensors(model)), scratch, threads) as session:
        for batch in batches():
            for name, low, high in _extremes(session.run(batch)):
                found[name] = merge(found[name], low, high) if name in found else (low, high)
    return {name: (low, high) for name, (low, high) in found.items() if math.isfinite(low) and math.isfinite(high)}


def masks_of(graph: Graph, extremes: Ranges) -> frozenset[str]:
    """Tensors on their way into a Softmax that hold numbers which only stand for minus infinity.

    Eight bits for such a mask and the scores it was added to leave nothing of the scores.
    """
    found = set[str]()
    waiting = [node.input[0] for node in graph.nodes if node.op_type in ("Softmax", "LogSoftmax")]
    while waiting:
        name = waiting.pop()
        if name in found or name not in extremes or extremes[name][0] > MASKED:
            continue
        found.add(name)
        maker = graph.producer(name)
        waiting += maker.input if maker is not None and maker.op_type in MASKING else ()
    return frozenset(found)


def without_range(model: ModelProto, ranges: Ranges) -> frozenset[str]:
    """The float tensors that `find_ranges` gives no range."""
    return frozenset(_float_tensors(model)) - ranges.keys()


def _by_histogram(
    model: ModelProto,
    batches: Batches,
    scratch: Path,
    threads: int,
    extremes: Ranges,
    calibrator: Calibrator,
    percentile: float,
) -> Ranges:
    histograms = {name: Histogram(low, high) for name, (low, high) in extremes.items()}
    for names in in_groups(model, list(histograms), batches, scratch, threads):
        for values in values_of(model, names, batches, scratch, threads):
            for name, seen in values.items():
                histograms[name].add(seen)
    return {name: histogram.best_range(calibrator, percentile) for name, histogram in histograms.items()}


def with_shapes(graph: Graph) -> ModelProto:
    """The model with the types and shapes of its tensors written down, as far as they follow."""
    return onnx.shape_inference.infer_shapes(graph.model, data_prop=True)
