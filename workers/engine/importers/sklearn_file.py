"""scikit-learn models in skops files, which hold data and type names, and no code (skops.readthedocs.io)."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.utils
from numpy.typing import NDArray

from whetstone.contract.models import Imported
from workers.engine.graph.graph import Graph
from workers.engine.graph.reasons import reason_of
from workers.engine.graph.session import Session
from workers.engine.importers.errors import InvalidModel, UnsafeFile, UnsupportedFormat
from workers.engine.importers.onnx_file import read_onnx

OPSETS = {"": 18, "ai.onnx.ml": 3}
INPUT = "input"
TENSORS = {"zipmap": False}
"""Probabilities as one tensor, not as a map for each row."""

TWO_CLASSES = 2

KNOWN_TYPES = frozenset(
    {
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.tree._tree.Tree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    }
)
"""Inner types of scikit-learn that skops does not list. They run nothing from the file; damaged numbers in a tree may
crash the process, which the sandbox outlives."""

CHECKED_ROWS = 256
RELATIVE = 1e-3
MOSTLY = 0.99
"""Rounding to float32 may send a row down the other side of a split; more than this share must come out the same."""


def read_skops(path: Path, scratch: Path) -> Graph:
    """The fitted model as ONNX, one float input `input` of shape [N, features], checked like any uploaded file.

    Raises UnsafeFile for types beyond scikit-learn's own, UnsupportedFormat for a model that has no true ONNX form,
    InvalidModel for what is no fitted model.
    """
    converted = scratch / "imported.onnx"
    onnx.save(_converted(_load(path)), converted)
    return read_onnx(converted)


def compare_skops(path: Path, graph: Graph, scratch: Path) -> Imported:
    """Run both on the same random rows. Raises InvalidModel when they do not say the same."""
    model = _load(path)
    rows = np.random.default_rng(0).standard_normal((CHECKED_ROWS, model.n_features_in_)).astype(np.float32)
    graph.save(scratch / "compared.onnx")
    found = Session(scratch / "compared.onnx").run({INPUT: rows})
    expected, got = _source_outputs(model, rows), np.asarray(found[graph.outputs[-1].name], np.float64)
    if got.shape[0] != len(rows) or got.size != expected.size:
        raise InvalidModel(
            f"The imported model gives {list(got.shape)} where scikit-learn gives {list(expected.shape)}."
        )
    error = np.abs(got.reshape(len(rows), -1) - expected.reshape(len(rows), -1)).max(axis=1)
    alike = float((error <= RELATIVE * max(1.0, float(np.abs(expected).max()))).mean())
    if alike < MOSTLY:
        raise InvalidModel(
            f"Imported to ONNX the {type(model).__name__} says something else for {1 - alike:.1%} of {len(rows)} rows.",
            hint="Convert it with skl2onnx where it was made, compare it there, and upload the ONNX file.",
        )
    return Imported(source=_source(model), samples=len(rows), same=alike, max_abs_error=float(error.max()))


def _load(path: Path) -> Any:
    import skops.io  # noqa: PLC0415 - seconds of imports that other models do not pay for

    try:
        strange = set(skops.io.get_untrusted_types(file=path)) - KNOWN_TYPES
        model = None if strange else skops.io.load(path, trusted=sorted(KNOWN_TYPES))
    except Exception as error:  # the file is whatever a stranger made it
        raise InvalidModel(f"The skops file cannot be read: {reason_of(error)}") from error
    if strange:
        raise UnsafeFile(
            f"The skops file holds {', '.join(sorted(strange)[:5])}, which is none of scikit-learn's own types.",
            hint="Save the fitted scikit-learn model alone, or convert it with skl2onnx and upload the ONNX file.",
        )
    if not hasattr(model, "predict") or not isinstance(getattr(model, "n_features_in_", None), int):
        raise InvalidModel(
            f"The skops file holds a {type(model).__name__}, not a fitted model that predicts from one table."
        )
    if not hasattr(model, "predict_proba") and len(getattr(model, "classes_", ())) == TWO_CLASSES:
        raise UnsupportedFormat(
            f"The {_last(model)} of two classes gives no probabilities, and the signs of its scores get lost in ONNX.",
            hint="Put it into a CalibratedClassifierCV, which gives probabilities, and upload that.",
        )
    return model


def _converted(model: Any) -> onnx.ModelProto:
    import skl2onnx  # noqa: PLC0415 - as above
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415

    how = {"initial_types": [(INPUT, FloatTensorType([None, model.n_features_in_]))], "target_opset": OPSETS}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it asks for attributes that scikit-learn is about to drop
            try:
                made = skl2onnx.to_onnx(model, options=TENSORS if hasattr(model, "classes_") else None, **how)
            except NameError:  # a converter that makes no maps does not know the option
                made = skl2onnx.to_onnx(model, **how)
    except Exception as error:  # its converters raise whatever they meet
        raise UnsupportedFormat(
            f"skl2onnx cannot convert the {_last(model)}: {reason_of(error)}",
            hint="Train a model that skl2onnx can convert: https://onnx.ai/sklearn-onnx/supported.html lists them.",
        ) from error
    return _numbers_only(_each_domain_once(made))


def _each_domain_once(model: onnx.ModelProto) -> onnx.ModelProto:
    """Skl2onnx names a domain for every node that it made."""
    versions = {given.domain: given.version for given in model.opset_import}
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in versions.items())
    return model


def _numbers_only(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without an output of class names, which are text: the probabilities are in the order of `classes_`."""
    text = onnx.TensorProto.STRING
    kept = [output.name for output in model.graph.output if output.type.tensor_type.elem_type != text]
    if len(kept) == len(model.graph.output):
        return model
    return onnx.utils.Extractor(model).extract_model([INPUT], kept)


def _source_outputs(model: Any, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the last output of the import stands for: probabilities, or scores of each class, or what is predicted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # models fitted on named columns ask for the names
        if hasattr(model, "predict_proba"):
            return np.asarray(model.predict_proba(rows), np.float64)
        if not hasattr(model, "classes_"):
            return np.asarray(model.predict(rows), np.float64)
        return np.asarray(model.decision_function(rows), np.float64)


def _source(model: Any) -> str:
    import sklearn  # noqa: PLC0415 - as above

    return f"scikit-learn {sklearn.__version__} {_last(model)}"


def _last(model: Any) -> str:
    """The model at the end of a pipeline."""
    steps = getattr(model, "steps", None)
    return type(steps[-1][1] if steps else model).__name__
