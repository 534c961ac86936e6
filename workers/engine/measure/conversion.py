"""Did the conversion keep the model? The delivered file against the graph it was made from, on the same inputs."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from whetstone.contract.failures import FailureCode
from whetstone.contract.reports import Conversion
from whetstone.contract.targets import Target
from workers.engine.data.samples import Batch
from workers.engine.errors import EngineError
from workers.engine.measure.fidelity import comparable
from workers.engine.targets.runtime import Array, Arrays

FLOAT32_TOLERANCE = 1e-3
HALF_TOLERANCE = 0.02
BFLOAT16_TOLERANCE = 0.1
QUANTIZED_TOLERANCE = 0.2
"""Of the relative error. Runtimes round 8-bit values at other places, so single steps differ; what this must catch
is a model that came out wrong. Whether the differences matter is judged by accuracy, on the delivered file."""

QUANTIZED_OPS = ("QuantizeLinear", "DynamicQuantizeLinear", "MatMulNBits")
HALVES = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


class ResultMismatch(EngineError):
    """The converted model does not give the results of the graph it was made from."""

    code = FailureCode.RESULT_MISMATCH
    hint = "Choose another target for this model; the graph itself is not at fault."


class Runs(Protocol):
    """A model ready to run, in whatever runtime."""

    def run(self, inputs: Arrays) -> Mapping[str, Array]: ...


def verify(reference: Runs, delivered: Runs, batches: Iterable[Batch], tolerance: float) -> Conversion:
    """Run both on a few batches and compare every output.

    The relative error is the norm of the difference over the norm of the output, both of all batches together. So an
    output that happens to be near zero does not count as wrong, nor one sample of many that rounding drives to another
    answer; one in 32 that is nothing like what it should be still does, where floats are rounded.

    Raises: ResultMismatch, ShapesDiffer, NotFinite.
    """
    samples = 0
    pairs: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
    for batch in batches:
        samples += batch.size
        expected, got = reference.run(batch.inputs), delivered.run(batch.inputs)
        for name, array in expected.items():
            pairs.setdefault(name, []).append(comparable(name, array, got[name]))
    relative = {name: _relative_error(outputs) for name, outputs in pairs.items()}
    worst = max(relative, key=relative.__getitem__)
    if relative[worst] > tolerance:
        raise ResultMismatch(
            f"After conversion, output '{worst}' is off by {relative[worst]:.2g} of its size; {tolerance:g} is allowed."
        )
    return Conversion(
        samples=samples,
        max_abs_error=max(_max_abs_error(outputs) for outputs in pairs.values()),
        max_relative_error=relative[worst],
        tolerance=tolerance,
    )


def tolerance_for(target: Target, graph: Path) -> float:
    """The relative error that the precision of graph and target explains."""
    model = onnx.load(graph, load_external_data=False).graph
    tolerance = FLOAT32_TOLERANCE
    if any(tensor.data_type in HALVES for tensor in model.initializer):
        tolerance = HALF_TOLERANCE
    if target is Target.OPENVINO_CPU_BF16:
        tolerance = BFLOAT16_TOLERANCE
    if any(node.op_type in QUANTIZED_OPS for node in model.node):
        tolerance = QUANTIZED_TOLERANCE
    return tolerance


def _relative_error(outputs: list[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> float:
    size = sum(float(np.square(expected).sum()) for expected, _ in outputs)
    error = sum(float(np.square(expected - got).sum()) for expected, got in outputs)
    return math.sqrt(error / size) if size > 0 else float(error > 0)


def _max_abs_error(outputs: list[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> float:
    return max(float(np.abs(expected - got).max(initial=0)) for expected, got in outputs)
