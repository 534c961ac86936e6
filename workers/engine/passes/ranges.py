"""The range of every activation over the calibration samples, by onnxruntime, in constant memory."""

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, helper

from whetstone.contract.quantization import Calibrator
from workers.engine.graph.graph import Array, Graph
from workers.engine.graph.reasons import reason_of
from workers.engine.graph.session import Session
from workers.engine.passes.errors import CalibrationFailed
from workers.engine.passes.histograms import Histogram

Ranges = dict[str, tuple[float, float]]
"""Lowest and highest value by tensor name."""

Batches = Callable[[], Iterable[Mapping[str, Array]]]
"""The calibration samples from the start, as often as it is called."""

LOWEST, HIGHEST = "whetstone_lowest/", "whetstone_highest/"
MOMENTUM = 0.9
"""How much a moving average keeps of what it was."""
TOGETHER = 32
"""Tensors whose values are looked at in one run, so that not all activations are held at once."""


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


def _without_outputs(model: ModelProto) -> ModelProto:
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    return watched


def _with_extremes(model: ModelProto, names: list[str]) -> ModelProto:
    """The model with the minimum and maximum of each tensor as its only outputs: two numbers, not a whole tensor."""
    watched = _without_outputs(model)
    for name in names:
        for op, prefix in (("ReduceMin", LOWEST), ("ReduceMax", HIGHEST)):
            made = f"{prefix}{name}"
            watched.graph.node.append(helper.make_node(op, [name], [made], name=made, keepdims=0))
            watched.graph.output.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, []))
    return watched


def _with_values(model: ModelProto, names: list[str]) -> ModelProto:
    """The model with whole tensors as its only outputs. An Identity each, since an input cannot be an output."""
    watched = _without_outputs(model)
    for name in names:
        made = f"{LOWEST}{name}"
        watched.graph.node.append(helper.make_node("Identity", [name], [made], name=made))
        watched.graph.output.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, None))
    return watched


@contextmanager
def _session(model: ModelProto, scratch: Path, threads: int) -> Iterator[Session]:
    """A session of a model that is only needed for a while. Raises CalibrationFailed for whatever goes wrong in it."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "watched.onnx"
        Graph(model).save(path)
        try:
            yield Session(path, threads=threads)
        except CalibrationFailed:
            raise
        except Exception as error:  # whatever the runtime says about a graph or a sample
            raise CalibrationFailed(f"A calibration sample could not be run: {reason_of(error)}") from error


def _extremes(made: Mapping[str, Array]) -> Iterator[tuple[str, float, float]]:
    """Raises CalibrationFailed where a tensor is NaN or infinite."""
    for key, low in made.items():
        if key.startswith(LOWEST):
            name = key.removeprefix(LOWEST)
            lowest, highest = float(low), float(made[f"{HIGHEST}{name}"])
            if not (math.isfinite(lowest) and math.isfinite(highest)):
                raise CalibrationFailed(f"'{name}' becomes NaN or infinite on a calibration sample.", layer=name)
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
    """Ranges of all float tensors of a model whose shapes are inferred.

    Extremes need two numbers per tensor and run; histograms a second pass with the values of a few tensors at a time.
    Neither depends on the number of samples. Raises CalibrationFailed.
    """
    merge = _averaged if calibrator is Calibrator.MOVING_AVERAGE else _widened
    found: Ranges = {}
    with _session(_with_extremes(model, _float_tensors(model)), scratch, threads) as session:
        for batch in batches():
            for name, low, high in _extremes(session.run(batch)):
                found[name] = merge(found[name], low, high) if name in found else (low, high)
    if calibrator in (Calibrator.MINMAX, Calibrator.MOVING_AVERAGE):
        return found
    return _by_histogram(model, batches, scratch, threads, found, calibrator, percentile)


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
    names = list(histograms)
    for start in range(0, len(names), TOGETHER):
        with _session(_with_values(model, names[start : start + TOGETHER]), scratch, threads) as session:
            for batch in batches():
                for key, values in session.run(batch).items():
                    histograms[key.removeprefix(LOWEST)].add(values)
    return {name: histogram.best_range(calibrator, percentile) for name, histogram in histograms.items()}


def with_shapes(graph: Graph) -> ModelProto:
    """The model with the types and shapes of its tensors written down, as far as they follow."""
    return onnx.shape_inference.infer_shapes(graph.model, data_prop=True)
