"""XGBoost and LightGBM models come in as they save themselves, and the import says what they say."""

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_diabetes, load_digits

from whetstone.calibration.session import Session
from workers.engine.importers.detect import open_model
from workers.engine.importers.errors import InvalidModel
from workers.engine.inspection import inspect_model

DIGITS, CLASSES = (part.astype(np.float32) for part in load_digits(return_X_y=True))
TWO = CLASSES < 2
TABLE, TARGETS = (part.astype(np.float32) for part in load_diabetes(return_X_y=True))
TASKS = {
    "ten classes": (DIGITS, CLASSES.astype(np.int64)),
    "two classes": (DIGITS[TWO], CLASSES[TWO].astype(np.int64)),
    "numbers": (TABLE, TARGETS),
}


def of_xgboost(task: str, path: Path) -> Path:
    kind = xgboost.XGBRegressor if task == "numbers" else xgboost.XGBClassifier
    kind(n_estimators=5).fit(*TASKS[task]).save_model(path)
    return path


def of_lightgbm(task: str, path: Path) -> Path:
    kind = lightgbm.LGBMRegressor if task == "numbers" else lightgbm.LGBMClassifier
    kind(n_estimators=5, verbose=-1).fit(*TASKS[task]).booster_.save_model(path)
    return path


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("make", "name", "form"),
    [(of_xgboost, "m.json", "xgboost"), (of_xgboost, "m.ubj", "xgboost"), (of_lightgbm, "m.txt", "lightgbm")],
)
def test_a_model_comes_in_as_it_was_saved(tmp_path: Path, make: Any, name: str, form: str, task: str) -> None:
    path = make(task, tmp_path / name).rename(tmp_path / "upload")  # told by its content
    facts = inspect_model(path, tmp_path).facts
    assert facts.format == form
    assert facts.imported is not None
    assert facts.imported.source.lower().startswith(f"{form} ")
    assert facts.imported.same == 1
    assert [given.name for given in facts.inputs] == ["input"]
    rows, truth = TASKS[task]
    open_model(path, tmp_path).save(tmp_path / "out.onnx")
    last = Session(tmp_path / "out.onnx").run({"input": rows})[facts.outputs[-1].name]
    if task == "numbers":
        assert np.corrcoef(last.reshape(-1), truth)[0, 1] > 0.7
    else:
        assert (last.argmax(axis=1) == truth).mean() > 0.85


def test_classes_without_probabilities_are_refused(tmp_path: Path) -> None:
    """`multi:softmax` answers with a class where the ONNX form has probabilities."""
    table = xgboost.DMatrix(DIGITS, CLASSES)
    booster = xgboost.train({"objective": "multi:softmax", "num_class": 10}, table, num_boost_round=2)
    booster.save_model(tmp_path / "m.json")
    with pytest.raises(InvalidModel, match="gives"):
        inspect_model(tmp_path / "m.json", tmp_path)
