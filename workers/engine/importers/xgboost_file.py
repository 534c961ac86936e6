"""XGBoost models in JSON or its binary form, UBJSON."""

from pathlib import Path
from typing import Any

from whetstone.contract.models import Imported
from workers.engine.graph.graph import Graph
from workers.engine.graph.reasons import reason_of
from workers.engine.importers.errors import InvalidModel, UnsupportedFormat
from workers.engine.importers.imported import INPUT, compared, imported


def read_xgboost(path: Path, scratch: Path) -> Graph:
    """The model as ONNX, one float input `input` of shape [N, features].

    Raises InvalidModel for a damaged file, UnsupportedFormat for a model that has no ONNX form.
    """
    from onnxmltools import convert_xgboost  # noqa: PLC0415 - as below
    from onnxmltools.convert.common.data_types import FloatTensorType  # noqa: PLC0415 - as below

    booster = _load(path)
    types = [(INPUT, FloatTensorType([None, booster.num_features()]))]
    try:
        made = convert_xgboost(booster, initial_types=types)
    except Exception as error:  # its converters raise whatever they meet
        raise UnsupportedFormat(f"onnxmltools cannot convert the XGBoost model: {reason_of(error)}") from error
    return imported(made, scratch)


def compare_xgboost(path: Path, graph: Graph, scratch: Path) -> Imported:
    """Raises InvalidModel when the graph does not say what XGBoost does."""
    import xgboost  # noqa: PLC0415 - as below

    booster = _load(path)
    return compared(
        f"XGBoost {xgboost.__version__} model",
        lambda rows: booster.predict(xgboost.DMatrix(rows)),
        booster.num_features(),
        graph,
        scratch,
    )


def _load(path: Path) -> Any:
    import xgboost  # noqa: PLC0415 - a library that other models do not need

    try:
        booster = xgboost.Booster()
        booster.load_model(bytearray(path.read_bytes()))
    except Exception as error:  # the file is whatever a stranger made it
        raise InvalidModel(f"The XGBoost file cannot be read: {reason_of(error)}") from error
    return booster
