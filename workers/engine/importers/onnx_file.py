"""Reading an ONNX file: parsed, checked, its weights in memory, its operators recent enough."""

from pathlib import Path

import onnx
from onnx import ModelProto

from workers.engine.graph.graph import Graph, name_of
from workers.engine.graph.reasons import reason_of
from workers.engine.graph.storage import stored_bytes
from workers.engine.graph.tensors import all_nodes, all_tensors, tensor_facts
from workers.engine.importers.errors import InvalidModel, NotOnnx
from workers.engine.importers.external import check_external, load_external
from workers.engine.importers.functions import without_functions
from workers.engine.importers.operators import check_interface, check_operators, upgraded


def _parse(path: Path) -> ModelProto:
    try:
        model = onnx.load_model(path, load_external_data=False)
    except Exception as error:  # protobuf says that it cannot be parsed in more than one way
        raise NotOnnx("The file is not ONNX, or breaks off before its end.") from error
    if not model.opset_import or not model.graph.node:
        raise NotOnnx("The file is not ONNX: it names no operator version or has no nodes.")
    return model


def _check(path: Path) -> None:
    try:
        onnx.checker.check_model(str(path))
    except Exception as error:  # besides ValidationError, damaged text and numbers raise whatever they meet
        raise InvalidModel(f"The model is not valid ONNX: {reason_of(error)}") from error


def _read_declarations(graph: Graph) -> None:
    """Look at every name and type once, so that damaged ones show here and not in the middle of the work."""
    texts = [graph.model.graph.name, graph.model.producer_name, graph.model.producer_version]
    "".join([*texts, *map(name_of, all_nodes(graph.model))])  # text that is no UTF-8 comes as bytes and does not join
    for tensor in all_tensors(graph.model):
        stored_bytes(tensor)
    for value in graph.model.graph.value_info:
        tensor_facts(value)
    check_interface(graph)


def _read(path: Path) -> Graph:
    model = _parse(path)
    check_external(model, path.parent)
    check_operators(model)
    _check(path)
    load_external(model, path.parent)
    graph = Graph(without_functions(model))
    _read_declarations(graph)
    return upgraded(graph)


def read_onnx(path: Path) -> Graph:
    """Read `path`; external data must lie in its folder. Raises the errors of this package, never another's."""
    try:
        return _read(path)
    except (LookupError, RuntimeError, TypeError, ValueError) as error:  # text that is no UTF-8, unknown types, …
        raise InvalidModel(f"The model is damaged: {reason_of(error)}") from error
