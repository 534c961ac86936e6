"""scikit-learn models come in as skops files, and the import says what scikit-learn says."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from whetstone.calibration.session import Session
from whetstone.contract.failures import FailureCode
from whetstone.contract.passes import Simplify
from workers.engine.errors import EngineError
from workers.engine.importers import sklearn_file
from workers.engine.importers.detect import compare_with_source, open_model
from workers.engine.importers.errors import InvalidModel
from workers.engine.inspection import inspect_model
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.sequence import make

DIGITS, CLASSES = (part.astype(np.float32) for part in load_digits(return_X_y=True))
NAMES = np.array([f"digit {label:.0f}" for label in CLASSES])
TABLE, TARGETS = load_diabetes(return_X_y=True)
FEW = {"n_estimators": 5, "random_state": 0}


def saved(folder: Path, model: Any) -> Path:
    path = folder / "model.skops"
    skops.io.dump(model, path)
    return path


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(**FEW),
        GradientBoostingClassifier(**FEW),
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
        SVC(),
        LinearSVC(),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("labels", [CLASSES.astype(np.int64), NAMES], ids=["numbers", "names"])
def test_a_classifier(tmp_path: Path, model: Any, labels: Any) -> None:
    model.fit(DIGITS, labels)
    path = saved(tmp_path, model)
    facts = inspect_model(path, tmp_path).facts
    assert facts.format == "skops"
    assert [(given.name, given.dtype) for given in facts.inputs] == [("input", "float32")]
    assert facts.imported is not None
    assert facts.imported.source.endswith(type(model[-1] if hasattr(model, "steps") else model).__name__)
    assert facts.imported.same > 0.99
    graph = open_model(path, tmp_path)
    assert all(output.dtype in ("int64", "float32") for output in graph.outputs)
    graph.save(tmp_path / "out.onnx")
    found = Session(tmp_path / "out.onnx").run({"input": DIGITS[:200]})
    agreed = model.classes_[found["probabilities"].argmax(axis=1)] == model.predict(DIGITS[:200])
    assert agreed.mean() > 0.95  # of SVC's scores the largest is not always what its votes say


def two_classes(model: Any) -> Any:
    two = CLASSES < 2
    return model.fit(DIGITS[two], CLASSES[two].astype(np.int64))


CALIBRATED = CalibratedClassifierCV(LinearSVC())


@pytest.mark.parametrize("model", [LogisticRegression(max_iter=500), RandomForestClassifier(**FEW), CALIBRATED])
def test_two_classes(tmp_path: Path, model: Any) -> None:
    facts = inspect_model(saved(tmp_path, two_classes(model)), tmp_path).facts
    assert facts.imported is not None
    assert facts.imported.same > 0.99
    assert [output.shape[-1] for output in facts.outputs if output.dtype == "float32"] == [2]


@pytest.mark.parametrize("model", [Ridge(), RandomForestRegressor(**FEW)], ids=lambda model: type(model).__name__)
def test_a_regressor(tmp_path: Path, model: Any) -> None:
    facts = inspect_model(saved(tmp_path, model.fit(TABLE, TARGETS)), tmp_path).facts
    assert facts.imported is not None
    assert facts.imported.same == 1
    assert facts.imported.max_abs_error < 1e-2
    assert len(facts.outputs) == 1


class Own(BaseEstimator):  # type: ignore[misc] # published without types
    """Not one of scikit-learn's types."""

    def predict(self, rows: Any) -> Any:
        return rows


def without_type(folder: Path) -> Path:
    """A schema that asks for another type than skops knows."""
    path = folder / "model.skops"
    good = zipfile.ZipFile(io.BytesIO(skops.io.dumps(Ridge().fit(TABLE, TARGETS))))
    with good, zipfile.ZipFile(path, "w") as archive:
        for name in good.namelist():
            archive.writestr(
                name,
                good.read(name).replace(b'"Ridge"', b'"system"').replace(b'"sklearn.linear_model._ridge"', b'"os"'),
            )
    return path


def torn(folder: Path) -> Path:
    path = folder / "model.skops"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", "{}")
    return path


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda folder: saved(folder, Own()), FailureCode.UNSAFE_FILE, "none of scikit-learn's own types"),
        (without_type, FailureCode.UNSAFE_FILE, "os.system"),
        (torn, FailureCode.INVALID_MODEL, "cannot be read"),
        (lambda folder: saved(folder, Ridge()), FailureCode.INVALID_MODEL, "holds a Ridge, not a fitted model"),
        (lambda folder: saved(folder, PCA(2).fit(TABLE)), FailureCode.INVALID_MODEL, "holds a PCA"),
        (lambda folder: saved(folder, two_classes(SVC())), FailureCode.UNSUPPORTED_FORMAT, "SVC of two classes"),
        (lambda folder: saved(folder, {"a": 1}), FailureCode.INVALID_MODEL, "holds a dict"),
    ],
    ids=["own type", "dangerous type", "torn", "not fitted", "no predictor", "two scores", "no model"],
)
def test_what_is_refused(tmp_path: Path, make: Any, code: FailureCode, words: str) -> None:
    path = make(tmp_path)
    with pytest.raises(EngineError, match=words) as refused:
        open_model(path, tmp_path)
    assert refused.value.as_failure().code is code


def test_a_model_that_has_no_onnx_form_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = HistGradientBoostingClassifier(max_iter=3).fit(DIGITS, CLASSES.astype(np.int64))
    more = {"sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"}
    monkeypatch.setattr(sklearn_file, "KNOWN_TYPES", sklearn_file.KNOWN_TYPES | more)
    with pytest.raises(EngineError, match="skl2onnx cannot convert the HistGradientBoostingClassifier") as refused:
        open_model(saved(tmp_path, model), tmp_path)
    assert refused.value.as_failure().code is FailureCode.UNSUPPORTED_FORMAT


def test_an_import_that_says_something_else_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Ridge().fit(TABLE, TARGETS))
    graph = open_model(path, tmp_path)
    (node,) = (node for node in graph.nodes if node.op_type == "LinearRegressor")
    coefficients = next(given for given in node.attribute if given.name == "coefficients")
    coefficients.CopyFrom(onnx.helper.make_attribute("coefficients", [0.0] * len(coefficients.floats)))
    with pytest.raises(InvalidModel, match="Ridge says something else"):
        compare_with_source(path, graph, tmp_path)


def test_trees_that_name_no_standard_operators_can_be_worked_on(tmp_path: Path) -> None:
    """As onnxmltools makes them of XGBoost models."""
    path = tmp_path / "trees.onnx"
    model = onnx.load(open_converted(tmp_path, RandomForestRegressor(**FEW).fit(TABLE, TARGETS)))
    kept = [given for given in model.opset_import if given.domain]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.save(model, path)
    graph = open_model(path, tmp_path)
    assert graph.opset == 17
    outcome = make(Simplify()).apply(graph, None, Context(tmp_path, 1))
    assert [node.op_type for node in outcome.graph.nodes] == ["TreeEnsembleRegressor"]


def open_converted(folder: Path, model: Any) -> Path:
    open_model(saved(folder, model), folder).save(folder / "converted.onnx")
    return folder / "converted.onnx"
