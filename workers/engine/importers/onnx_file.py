"""Reading an ONNX file: parsed, checked, its weights in memory, its operators recent enough."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto

from workers.engine.graph.graph import Graph
from workers.engine.importers.errors import InvalidModel
from workers.engine.importers.external import check_external, load_external
from workers.engine.importers.operators import check_interface, check_operators, first_line, upgraded


def _parse(path: Path) -> ModelProto:
    try:
        model = onnx.load_model(path, load_external_data=False)
    except DecodeError as error:
        raise InvalidModel("The file is not ONNX, or breaks off before its end.") from error
    if not model.opset_import or not model.graph.node:
        raise InvalidModel("The file is not ONNX: it names no operator version or has no nodes.")
    return model


def _check(path: Path) -> None:
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise InvalidModel(f"The model is not valid ONNX: {first_line(error)}") from error


def read_onnx(path: Path) -> Graph:
    """Read `path`; external data must lie in its folder. Raises the errors of this package, never another's."""
    model = _parse(path)
    check_external(model, path.parent)
    check_operators(model)
    _check(path)
    load_external(model, path.parent)
    graph = Graph(model)
    check_interface(graph)
    return upgraded(graph)
