"""Any uploaded file → a graph, or a refusal that says what to do."""

from pathlib import Path
from typing import assert_never

from whetstone.contract.models import Imported
from workers.engine.graph.graph import Graph
from workers.engine.importers.archive import only_file, unpack
from workers.engine.importers.converted import compare_converted
from workers.engine.importers.errors import NotOnnx
from workers.engine.importers.foreign import explained
from workers.engine.importers.formats import Format, format_of
from workers.engine.importers.lightgbm_file import compare_lightgbm, read_lightgbm
from workers.engine.importers.onnx_file import read_onnx
from workers.engine.importers.sklearn_file import compare_skops, read_skops
from workers.engine.importers.tensorflow_file import read_tensorflow
from workers.engine.importers.torch_archive import read_archive
from workers.engine.importers.torch_folder import read_folder
from workers.engine.importers.xgboost_file import compare_xgboost, read_xgboost


def open_model(path: Path, scratch: Path) -> Graph:  # noqa: PLR0911 - one for each format
    """Read an uploaded model. Archives are unpacked into `scratch`.

    Raises InvalidModel, UnsupportedFormat, UnsupportedOpset, UnsupportedOp or UnsafeFile, and ToolkitMissing where this
    worker lacks what the format needs.
    """
    match file_format := format_of(path):
        case Format.ONNX:
            return _read_unmarked(path)
        case Format.ONNX_ZIP:
            return read_onnx(only_file("*.onnx", unpack(path, scratch)))
        case Format.SKOPS:
            return read_skops(path, scratch)
        case Format.XGBOOST:
            return read_xgboost(path, scratch)
        case Format.LIGHTGBM:
            return read_lightgbm(path, scratch)
        case Format.KERAS | Format.HDF5 | Format.SAVED_MODEL | Format.TFLITE:
            return read_tensorflow(path, file_format, scratch)
        case Format.TRANSFORMERS | Format.TIMM:
            return read_folder(path, file_format, scratch)
        case Format.TORCH_EXPORT | Format.TORCHSCRIPT:
            return read_archive(path, file_format, scratch)
        case _:
            assert_never(file_format)


def _read_unmarked(path: Path) -> Graph:
    try:
        return read_onnx(path)
    except NotOnnx as error:
        raise explained(path, error) from error


def compare_with_source(path: Path, graph: Graph, scratch: Path) -> Imported | None:
    """Whether the graph, just read, says what the uploaded model says in its own framework; None for what is ONNX.

    Raises InvalidModel when it does not.
    """
    match file_format := format_of(path):
        case Format.ONNX | Format.ONNX_ZIP:
            return None
        case Format.SKOPS:
            return compare_skops(path, graph, scratch)
        case Format.XGBOOST:
            return compare_xgboost(path, graph, scratch)
        case Format.LIGHTGBM:
            return compare_lightgbm(path, graph, scratch)
        case (
            Format.KERAS
            | Format.HDF5
            | Format.SAVED_MODEL
            | Format.TFLITE
            | Format.TRANSFORMERS
            | Format.TIMM
            | Format.TORCH_EXPORT
            | Format.TORCHSCRIPT
        ):
            return compare_converted(graph, scratch)
        case _:
            assert_never(file_format)
