"""What every import from another framework ends in: a clean ONNX file, compared with its source on the same rows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.utils
from numpy.typing import NDArray

from whetstone.contract.models import Imported
from workers.engine.graph.graph import Graph
from workers.engine.graph.session import Session
from workers.engine.importers.errors import InvalidModel
from workers.engine.importers.onnx_file import read_onnx

INPUT = "input"
TENSORS = {"zipmap": False}
"""Probabilities as one tensor, not as a map for each row."""

CHECKED_ROWS = 256
RELATIVE = 1e-3
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
    error = np.abs(got.reshape(len(rows), -1) - expected.reshape(len(rows), -1)).max(axis=1)
    alike = float((error <= RELATIVE * max(1.0, float(np.abs(expected).max()))).mean())
    if alike < MOSTLY:
        raise InvalidModel(
            f"Imported to ONNX the {source} says something else for {1 - alike:.1%} of {len(rows)} rows.",
            hint="Convert it to ONNX where it was made, compare it there, and upload the ONNX file.",
        )
    return Imported(source=source, samples=len(rows), same=alike, max_abs_error=float(error.max()))


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
