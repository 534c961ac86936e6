"""LightGBM models in its text format, which holds numbers and names."""

from pathlib import Path
from typing import Any

from whetstone.contract.models import Imported
from workers.engine.graph.graph import Graph
from workers.engine.graph.reasons import reason_of
from workers.engine.importers.errors import InvalidModel, UnsupportedFormat
from workers.engine.importers.imported import INPUT, TENSORS, compared, imported


def read_lightgbm(path: Path, scratch: Path) -> Graph:
    """The model as ONNX, one float input `input` of shape [N, features].

    Raises InvalidModel for a damaged file, UnsupportedFormat for a model that has no ONNX form.
    """
    from onnxmltools import convert_lightgbm  # noqa: PLC0415 - as below
    from onnxmltools.convert.common.data_types import FloatTensorType  # noqa: PLC0415 - as below

    booster = _load(path)
    types = [(INPUT, FloatTensorType([None, booster.num_feature()]))]
    try:
        made = convert_lightgbm(booster, initial_types=types, **TENSORS)
    except Exception as error:  # its converters raise whatever they meet
        raise UnsupportedFormat(f"onnxmltools cannot convert the LightGBM model: {reason_of(error)}") from error
    return imported(made, scratch)


def compare_lightgbm(path: Path, graph: Graph, scratch: Path) -> Imported:
    """Raises InvalidModel when the graph does not say what LightGBM does."""
    import lightgbm  # noqa: PLC0415 - as below

    booster = _load(path)
    return compared(f"LightGBM {lightgbm.__version__} model", booster.predict, booster.num_feature(), graph, scratch)


def _load(path: Path) -> Any:
    import lightgbm  # noqa: PLC0415 - a library that other models do not need

    try:
        return lightgbm.Booster(model_str=path.read_text("utf-8"))
    except Exception as error:  # the file is whatever a stranger made it
        raise InvalidModel(f"The LightGBM file cannot be read: {reason_of(error)}") from error
