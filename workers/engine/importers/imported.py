"""What every import from another framework ends in: a clean ONNX file, compared with its source on the same rows."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnx.utils
from numpy.typing import NDArray

from whetstone.calibration.session import Session
from whetstone.contract.models import Imported
from workers.engine.graph.graph import Array, Graph
from workers.engine.importers.errors import InvalidModel
from workers.engine.importers.onnx_file import read_onnx

INPUT = "input"
TENSORS = {"zipmap": False}
"""Probabilities as one tensor, not as a map for each row."""

CHECKED_ROWS = 256
RELATIVE = 1e-3
STEPS = 8
"""A quantized graph rounds in other places than the source's integer kernels: by so many steps of 256 it may differ."""
MOSTLY = 0.99
"""Rounding to float32 may send a row down the other side of a split; more than this share must come out the same."""

Floats = NDArray[np.float64]
Predict = Callable[[NDArray[np.float32]], Floats]


def imported(made: onnx.ModelProto, scratch: Path) -> Graph:
    """What a converter made, checked like any uploaded file."""
    converted = scratch / "imported.onnx"
    onnx.save(_numbers_only(_each_domain_once(made)), converted)
    return read_onnx(converted)


def compared(source: str, predict: Predict, features: int, graph: Graph, scratch: Path) -> Imported:
    """Run both on the same random rows, shape [N, features]. `predict` gives what the graph's last output stands for.

    Raises InvalidModel when they do not say the same.
    """
    rows = np.random.default_rng(0).standard_normal((CHECKED_ROWS, features)).astype(np.float32)
    graph.save(scratch / "compared.onnx")
    got = np.asarray(Session(scratch / "compared.onnx").run({INPUT: rows})[graph.outputs[-1].name], np.float64)
    expected = _for_each_class(np.asarray(predict(rows), np.float64), got)
    if got.shape[0] != len(rows) or got.size != expected.size:
        raise InvalidModel(
            f"The imported {source} gives {list(got.shape)} where its own framework gives {list(expected.shape)}."
        )
    error = _errors(got, expected)
    return _judged(source, error, error <= RELATIVE * max(1.0, float(np.abs(expected).max())))


class Call(NamedTuple):
    """Inputs by name, rows along the first axis, and what the source makes of them: one array for each output."""

    inputs: dict[str, Array]
    outputs: tuple[Array, ...]


def compared_calls(source: str, calls: Sequence[Call], graph: Graph, scratch: Path) -> Imported:
    """Run the graph on what the source was run on. Raises InvalidModel when they do not say the same."""
    graph.save(scratch / "compared.onnx")
    session = Session(scratch / "compared.onnx")
    relative = STEPS / 256 if any(node.op_type == "DequantizeLinear" for node in graph.nodes) else RELATIVE
    spans = [max(float(np.abs(made).max(initial=0)) for made in output) for output in _by_output(calls)]
    errors, alike = [], []
    for call in calls:
        made = session.run(call.inputs)
        got = [made[output.name] for output in graph.outputs]
        if [each.shape for each in got] != [each.shape for each in call.outputs]:
            raise InvalidModel(f"Imported to ONNX the {source} gives outputs of other shapes than its own framework.")
        found = [_errors(*pair) for pair in zip(got, call.outputs, strict=True)]
        errors.append(np.max(found, axis=0))
        alike.append(
            np.all([error <= relative * max(1.0, span) for error, span in zip(found, spans, strict=True)], axis=0)
        )
    return _judged(source, np.concatenate(errors), np.concatenate(alike))


def _by_output(calls: Sequence[Call]) -> list[tuple[Array, ...]]:
    return list(zip(*(call.outputs for call in calls), strict=True))


def _errors(got: Array | Floats, expected: Array | Floats) -> Floats:
    """The largest difference in each row; what is not a number in both is the same."""
    rows = len(expected) if expected.ndim else 1
    left, right = (each.astype(np.float64).reshape(rows, -1) for each in (got, expected))
    difference = np.where(np.isnan(left) & np.isnan(right), 0.0, np.abs(left - right))
    return np.asarray(difference.max(axis=1, initial=0.0), np.float64)


def _judged(source: str, errors: Floats, alike: NDArray[np.bool_]) -> Imported:
    """Raises InvalidModel where more rows differ than rounding explains."""
    same = float(alike.mean())
    if same < MOSTLY:
        raise InvalidModel(
            f"Imported to ONNX the {source} says something else for {1 - same:.1%} of {len(alike)} rows.",
            hint="Convert it to ONNX where it was made, compare it there, and upload the ONNX file.",
        )
    return Imported(source=source, samples=len(alike), same=same, max_abs_error=float(errors.max()))


def _for_each_class(expected: Floats, got: Floats) -> Floats:
    """Frameworks may give the probability of the second of two classes alone, where ONNX gives both."""
    alone = expected.ndim == 1 and got.ndim > 1 and got.shape[1] == 2  # noqa: PLR2004 - two classes
    return np.stack([1 - expected, expected], axis=1) if alone else expected


def _each_domain_once(model: onnx.ModelProto) -> onnx.ModelProto:
    """Skl2onnx names a domain for every node that it made."""
    versions = {given.domain: given.version for given in model.opset_import}
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in versions.items())
    return model


def _numbers_only(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without an output of class names, which are text: the probabilities are in the order of the classes."""
    text = onnx.TensorProto.STRING
    kept = [output.name for output in model.graph.output if output.type.tensor_type.elem_type != text]
    if len(kept) == len(model.graph.output):
        return model
    return onnx.utils.Extractor(model).extract_model([INPUT], kept)
