"""The range of every activation over the calibration samples, by onnxruntime, in constant memory."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, helper

from whetstone.contract.quantization import Calibrator
from workers.engine.graph.graph import Array, Graph
from workers.engine.passes.errors import CalibrationFailed
from workers.engine.passes.histograms import Histogram
from workers.engine.passes.watching import (
    Batches,
    alive,
    in_groups,
    session_of,
    show,
    show_life,
    values_of,
    without_outputs,
)

Ranges = dict[str, tuple[float, float]]
"""Lowest and highest value by tensor name."""

LOWEST, HIGHEST = "whetstone_lowest/", "whetstone_highest/"
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
    """The model with the minimum and maximum of each tensor as its only outputs, and whether it is finite."""
    watched = without_outputs(model)
    for name in names:
        for op, prefix in (("ReduceMin", LOWEST), ("ReduceMax", HIGHEST)):
            made = f"{prefix}{name}"
            watched.graph.node.append(helper.make_node(op, [name], [made], name=made, keepdims=0))
            show(watched, made, [])
    show_life(watched, names)
    return watched


def _extremes(made: Mapping[str, Array]) -> Iterator[tuple[str, float, float]]:
    """Raises CalibrationFailed where a tensor is NaN."""
    finite = alive(made)
    for key, low in made.items():
        if key.startswith(LOWEST):
            name = key.removeprefix(LOWEST)
            lowest, highest = float(low), float(made[f"{HIGHEST}{name}"])
            if not finite[name] and (math.isinf(lowest), math.isinf(highest)) == (False, False):
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
    """Ranges of all float tensors of a model whose shapes are inferred, but those that become infinite: masks do.

    Extremes need two numbers per tensor and run; histograms a second pass with the values of a few tensors at a time.
    Neither depends on the number of samples. Raises CalibrationFailed.
    """
    merge = _averaged if calibrator is Calibrator.MOVING_AVERAGE else _widened
    found: Ranges = {}
    with session_of(_with_extremes(model, _float_tensors(model)), scratch, threads) as session:
        for batch in batches():
            for name, low, high in _extremes(session.run(batch)):
                found[name] = merge(found[name], low, high) if name in found else (low, high)
    found = {name: (low, high) for name, (low, high) in found.items() if math.isfinite(low) and math.isfinite(high)}
    if calibrator in (Calibrator.MINMAX, Calibrator.MOVING_AVERAGE):
        return found
    return _by_histogram(model, batches, scratch, threads, found, calibrator, percentile)


def infinite(model: ModelProto, ranges: Ranges) -> frozenset[str]:
    """The float tensors that `find_ranges` gives no range: no integer stands for what becomes infinite."""
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
