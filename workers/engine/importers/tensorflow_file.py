"""Keras, TensorFlow and TFLite models, read and run by TensorFlow itself: in the toolkit of that name."""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel

from whetstone.contract.failures import FailureCode
from whetstone.contract.models import Imported
from whetstone.contract.toolkits import Toolkit
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.importers.archive import only_file, unpack
from workers.engine.importers.errors import InvalidModel, UnsafeFile, UnsupportedFormat, UnsupportedOp
from workers.engine.importers.imported import Call, compared_calls
from workers.engine.importers.onnx_file import read_onnx
from workers.engine.toolkits.running import python_of, run_module

Kind = Literal["keras", "hdf5", "saved-model", "tflite"]

CONVERTER = "workers.engine.toolkits.converters.tensorflow_models"
QUIET = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "KERAS_HOME": "."}
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


def read_tensorflow(path: Path, kind: Kind, scratch: Path, instead: str) -> Graph:
    """The model as ONNX, its inputs and outputs named as they are in the file.

    Raises ToolkitMissing, InvalidModel, UnsafeFile, UnsupportedFormat, UnsupportedOp, ScriptFailed.
    """
    python = python_of(Toolkit.TENSORFLOW, instead)
    folder = _folder(scratch)
    folder.mkdir()
    run_module(python, CONVERTER, (kind, str(_source(path, kind, scratch)), "."), folder, QUIET)
    told = _answer(folder).refused
    if told is not None:
        raise REFUSALS.get(told.code, InvalidModel)(told.message, hint=told.hint)
    return read_onnx(folder / "model.onnx")


def compare_tensorflow(graph: Graph, scratch: Path) -> Imported:
    """Compare with what TensorFlow said when the model was read. Raises InvalidModel when the graph says otherwise."""
    folder = _folder(scratch)
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


def _folder(scratch: Path) -> Path:
    return scratch / "tensorflow"


def _answer(folder: Path) -> Answer:
    return Answer.model_validate_json((folder / "answer.json").read_bytes())


def _source(path: Path, kind: Kind, scratch: Path) -> Path:
    """What the converter is given: of a zip what was unpacked, checked before."""
    match kind:
        case "tflite":
            return path.resolve()
        case "hdf5":  # Keras goes by the name
            (scratch / "model.h5").symlink_to(path.resolve())
            return (scratch / "model.h5").absolute()
        case "keras":
            return unpack(path, scratch).resolve()
        case "saved-model":
            return only_file("saved_model.pb", unpack(path, scratch).resolve()).parent
