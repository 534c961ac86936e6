"""Models that a toolkit's Python converts: what it is asked, what it answers, and the comparison with its samples."""

from pathlib import Path

import numpy as np
from pydantic import BaseModel

from whetstone.contract.failures import FailureCode
from whetstone.contract.models import Imported
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.importers.errors import InvalidModel, UnsafeFile, UnsupportedFormat, UnsupportedOp
from workers.engine.importers.imported import Call, compared_calls
from workers.engine.importers.onnx_file import read_onnx

REFUSALS: dict[FailureCode, type[EngineError]] = {
    each.code: each for each in (InvalidModel, UnsafeFile, UnsupportedFormat, UnsupportedOp)
}


class Told(BaseModel):
    """Why the converter has not converted a model."""

    code: FailureCode
    message: str
    hint: str


class Answer(BaseModel):
    """What it did: the model in its own words and the names of its inputs in order, or why it did nothing."""

    source: str = ""
    inputs: tuple[str, ...] = ()
    refused: Told | None = None


def folder_of(scratch: Path) -> Path:
    """Where a converter works and leaves what it made."""
    return scratch / "converted"


def read_converted(folder: Path) -> Graph:
    """What a converter left in `folder`. Raises what it refused the model with, or InvalidModel."""
    told = _answer(folder).refused
    if told is not None:
        raise REFUSALS.get(told.code, InvalidModel)(told.message, hint=told.hint)
    return read_onnx(folder / "model.onnx")


def compare_converted(graph: Graph, scratch: Path) -> Imported:
    """Compare with what the framework said when the model was read. Raises InvalidModel when the graph says
    otherwise.
    """
    folder = folder_of(scratch)
    answer = _answer(folder)
    with np.load(folder / "samples.npz", allow_pickle=False) as kept:
        calls = [
            _call(kept, number, answer.inputs) for number in range(1 + max(int(name.split(".")[0]) for name in kept))
        ]
    return compared_calls(answer.source, calls, graph, scratch)


def _call(kept: "np.lib.npyio.NpzFile", number: int, names: tuple[str, ...]) -> Call:
    given = {name: kept[f"{number}.in.{index}"] for index, name in enumerate(names)}
    made = sum(name.startswith(f"{number}.out.") for name in kept)
    return Call(given, tuple(kept[f"{number}.out.{index}"] for index in range(made)))


def _answer(folder: Path) -> Answer:
    return Answer.model_validate_json((folder / "answer.json").read_bytes())
