"""Keras, TensorFlow and TFLite models, read and run by TensorFlow itself: in the toolkit of that name."""

from pathlib import Path
from typing import Literal

from whetstone.contract.toolkits import Toolkit
from workers.engine.graph.graph import Graph
from workers.engine.importers.archive import only_file, unpack
from workers.engine.importers.converted import folder_of, read_converted
from workers.engine.importers.formats import Format
from workers.engine.importers.instead import FROM_KERAS, FROM_SAVED_MODEL, FROM_TFLITE
from workers.engine.toolkits.running import python_of, run_module

Kind = Literal[Format.KERAS, Format.HDF5, Format.SAVED_MODEL, Format.TFLITE]

CONVERTER = "workers.engine.toolkits.converters.tensorflow_models"
INSTEAD: dict[Kind, str] = {
    Format.KERAS: FROM_KERAS,
    Format.HDF5: FROM_KERAS,
    Format.SAVED_MODEL: FROM_SAVED_MODEL,
    Format.TFLITE: FROM_TFLITE,
}
QUIET = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "KERAS_HOME": "."}


def read_tensorflow(path: Path, kind: Kind, scratch: Path) -> Graph:
    """The model as ONNX, its inputs and outputs named as they are in the file.

    Raises ToolkitMissing, InvalidModel, UnsafeFile, UnsupportedFormat, UnsupportedOp, ScriptFailed.
    """
    python = python_of(Toolkit.TENSORFLOW, INSTEAD[kind])
    folder = folder_of(scratch)
    folder.mkdir()
    run_module(python, CONVERTER, (kind, str(_source(path, kind, scratch)), "."), folder, QUIET)
    return read_converted(folder)


def _source(path: Path, kind: Kind, scratch: Path) -> Path:
    """What the converter is given: of a zip what was unpacked, checked before."""
    match kind:
        case Format.TFLITE:
            return path.resolve()
        case Format.HDF5:  # Keras goes by the name
            (scratch / "model.h5").symlink_to(path.resolve())
            return (scratch / "model.h5").absolute()
        case Format.KERAS:
            return unpack(path, scratch).resolve()
        case Format.SAVED_MODEL:
            return only_file("saved_model.pb", unpack(path, scratch).resolve()).parent
