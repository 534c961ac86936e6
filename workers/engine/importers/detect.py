"""Any uploaded file → a graph, or a refusal that says what to do."""

from pathlib import Path
from typing import assert_never

from whetstone.contract.models import Imported
from workers.engine.graph.graph import Graph
from workers.engine.importers.archive import unpack
from workers.engine.importers.errors import InvalidModel
from workers.engine.importers.formats import Format, format_of
from workers.engine.importers.lightgbm_file import compare_lightgbm, read_lightgbm
from workers.engine.importers.onnx_file import read_onnx
from workers.engine.importers.sklearn_file import compare_skops, read_skops
from workers.engine.importers.xgboost_file import compare_xgboost, read_xgboost

IGNORED = "__MACOSX"


def _only_model(folder: Path) -> Path:
    found = [path for path in folder.rglob("*.onnx") if path.is_file() and IGNORED not in path.parts]
    if len(found) != 1:
        names = ", ".join(sorted(path.name for path in found)[:5])
        raise InvalidModel(f"The zip archive must hold one .onnx file, not {len(found)} ({names}).")
    return found[0]


def open_model(path: Path, scratch: Path) -> Graph:
    """Read an uploaded model. Archives are unpacked into `scratch`.

    Other formats are imported anew each time: that takes seconds, and every step may then run on any worker.
    Raises InvalidModel, UnsupportedFormat, UnsupportedOpset, UnsupportedOp or UnsafeFile.
    """
    match file_format := format_of(path):
        case Format.ONNX:
            return read_onnx(path)
        case Format.ONNX_ZIP:
            return read_onnx(_only_model(unpack(path, scratch)))
        case Format.SKOPS:
            return read_skops(path, scratch)
        case Format.XGBOOST:
            return read_xgboost(path, scratch)
        case Format.LIGHTGBM:
            return read_lightgbm(path, scratch)
        case _:
            assert_never(file_format)


def compare_with_source(path: Path, graph: Graph, scratch: Path) -> Imported | None:
    """Whether the graph says what the uploaded model says in its own framework; None for what is ONNX already.

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
        case _:
            assert_never(file_format)
