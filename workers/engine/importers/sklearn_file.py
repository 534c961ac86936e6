"""scikit-learn models in skops files, which hold data and type names, and no code (skops.readthedocs.io)."""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from whetstone.contract.models import Imported
from workers.engine.graph.graph import Graph
from workers.engine.graph.reasons import reason_of
from workers.engine.importers.errors import InvalidModel, UnsafeFile, UnsupportedFormat
from workers.engine.importers.imported import INPUT, TENSORS, compared, imported

OPSETS = {"": 18, "ai.onnx.ml": 3}
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


def read_skops(path: Path, scratch: Path) -> Graph:
    """The fitted model as ONNX, one float input `input` of shape [N, features].

    Raises UnsafeFile for types beyond scikit-learn's own, UnsupportedFormat for a model that has no true ONNX form,
    InvalidModel for what is no fitted model.
    """
    return imported(_converted(_load(path)), scratch)


def compare_skops(path: Path, graph: Graph, scratch: Path) -> Imported:
    """Raises InvalidModel when the graph does not say what scikit-learn does."""
    model = _load(path)
    return compared(_source(model), partial(_outputs, model), model.n_features_in_, graph, scratch)


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

    made: onnx.ModelProto
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
    return made


def _outputs(model: Any, rows: NDArray[np.float32]) -> NDArray[np.float64]:
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
