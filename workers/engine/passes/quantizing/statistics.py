"""Ranges from statistics that a tenant has measured where the data are, in place of calibration samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose

import numpy as np
from onnx import ModelProto

from whetstone.calibration.arrays import Array, Ranges
from whetstone.calibration.extremes import finite, float_tensors
from whetstone.calibration.histograms import Histogram
from whetstone.contract.quantization import Calibrator, Quantize
from whetstone.contract.statistics import CalibrationStatistics, TensorStatistics
from workers.engine.graph.graph import Graph
from workers.engine.graph.tensors import tensor_facts
from workers.engine.passes.errors import CalibrationFailed
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.quantizing.ranges import find_extremes, masks_of, with_shapes

CLOSE = 1e-3
"""How much of its range a tensor may differ between the model that was measured and the graph: rounding, no more."""

HINT = "Calibrate the model anew with `whet calibrate`, and put nothing but `simplify` before `quantize`."


@dataclass(frozen=True)
class Statistics:
    """What was measured, of which model, and inputs to see with whether a graph still computes the same."""

    found: CalibrationStatistics
    original: Graph
    probe: Mapping[str, Array] | None

    def ranges(self, graph: Graph, config: Quantize, percentile: float, context: Context) -> Ranges:
        """What the calibrator chooses for each float tensor. Raises CalibrationFailed where they do not fit the graph:
        it has other tensors, of other shapes, or with other values.
        """
        model = with_shapes(graph)
        by_name = {tensor.name: tensor for tensor in self.found.tensors}
        _check_names(model, by_name.keys() | set(self.found.unbounded))
        _check_shapes(model, by_name)
        _check_varied(self.found, by_name)
        self._check_same(model, context)
        limits = {name: (tensor.low, tensor.high) for name, tensor in by_name.items()}
        wanted = set(float_tensors(model)) & limits.keys() - masks_of(graph, limits)
        return {name: _chosen(by_name[name], config.calibrator, percentile) for name in limits if name in wanted}

    def _check_same(self, model: ModelProto, context: Context) -> None:
        """Tensors of the same name have the same extremes in the original, on the probe."""
        if self.probe is None:
            return
        probe, scratch, threads = self.probe, context.scratch, context.threads
        before, after = (
            finite(find_extremes(each, lambda: [probe], scratch, threads))
            for each in (with_shapes(self.original), model)
        )
        for name in after.keys() & before.keys():
            width = max(np.ptp(before[name]), abs(before[name][0]), 1e-6)
            for old, new in zip(before[name], after[name], strict=True):
                if not isclose(old, new, rel_tol=0, abs_tol=CLOSE * float(width)):
                    told = f"'{name}' is not what it was in the model that the statistics are of."
                    raise CalibrationFailed(told, layer=name, hint=HINT)


def _check_names(model: ModelProto, known: set[str]) -> None:
    for name in float_tensors(model):
        if name not in known:
            raise CalibrationFailed(f"The statistics do not know the tensor '{name}'.", layer=name, hint=HINT)


def _check_shapes(model: ModelProto, known: Mapping[str, TensorStatistics]) -> None:
    graph = model.graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        told = known[value.name].shape if value.name in known else None
        if told is None or not value.type.tensor_type.HasField("shape"):
            continue
        have = tensor_facts(value).shape
        sizes = [(a, b) for a, b in zip(told, have, strict=False) if isinstance(a, int) and isinstance(b, int)]
        if len(told) != len(have) or any(a != b for a, b in sizes):
            raise CalibrationFailed(
                f"The statistics say {list(told)} of '{value.name}', which is {list(have)}.",
                layer=value.name,
                hint=HINT,
            )


def _check_varied(found: CalibrationStatistics, known: Mapping[str, TensorStatistics]) -> None:
    still = [known[name] for name in found.inputs if name in known and known[name].low == known[name].high]
    if len(still) == len(found.inputs):
        told = ", ".join(f"'{tensor.name}' is always {tensor.low:g}" for tensor in still)
        raise CalibrationFailed(
            f"Every calibration sample is one and the same number: input {told}. No range follows from that.", hint=HINT
        )


def _chosen(tensor: TensorStatistics, calibrator: Calibrator, percentile: float) -> tuple[float, float]:
    if calibrator is Calibrator.MINMAX:
        return tensor.low, tensor.high
    if calibrator is Calibrator.MOVING_AVERAGE:
        return tensor.average_low, tensor.average_high
    histogram = Histogram(tensor.low, tensor.high)
    if tensor.counts:
        histogram.counts = np.asarray(tensor.counts, np.float64)
    return histogram.best_range(calibrator, percentile)
