"""The range of every activation over the calibration samples, by onnxruntime, in constant memory."""

from pathlib import Path

import onnx
from onnx import ModelProto

from whetstone.calibration.arrays import Batches, Ranges
from whetstone.calibration.extremes import (
    averaged,
    extremes_by_batch,
    finite,
    float_tensors,
    histograms_of,
    merged_all,
    widened,
)
from whetstone.contract.quantization import Calibrator
from workers.engine.graph.graph import Graph
from workers.engine.passes.quantizing.watching import opener

MASKED = -1e4
"""Logits as low as this have no chance whatever the others are."""
MASKING = frozenset({
    "Add", "Sub", "Mul", "Where", "Unsqueeze", "Squeeze", "Reshape", "Expand", "Transpose", "Identity", "Concat",
    "Slice",
})  # fmt: skip
"""How a mask is made, shaped and laid over scores."""


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
    found = find_extremes(model, batches, scratch, threads, by_average=calibrator is Calibrator.MOVING_AVERAGE)
    masks = masks_of(Graph(model), found)
    found = {name: limits for name, limits in found.items() if name not in masks}
    if calibrator in (Calibrator.MINMAX, Calibrator.MOVING_AVERAGE):
        return found
    histograms = histograms_of(model, batches, opener(scratch, threads), found)
    return {name: histogram.best_range(calibrator, percentile) for name, histogram in histograms.items()}


def find_extremes(
    model: ModelProto, batches: Batches, scratch: Path, threads: int, *, by_average: bool = False
) -> Ranges:
    """The lowest and highest value of each float tensor, or their moving averages. Raises CalibrationFailed.

    Infinite ones are left out.
    """
    merge = averaged if by_average else widened
    return finite(merged_all(extremes_by_batch(model, batches, opener(scratch, threads)), merge))


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
    return frozenset(float_tensors(model)) - ranges.keys()


def with_shapes(graph: Graph) -> ModelProto:
    """The model with the types and shapes of its tensors written down, as far as they follow."""
    return onnx.shape_inference.infer_shapes(graph.model, data_prop=True)
