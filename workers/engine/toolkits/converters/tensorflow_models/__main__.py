"""`KIND SOURCE FOLDER`: writes `answer.json` and, unless that says why not, `model.onnx` and `samples.npz`."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from workers.engine.toolkits.converters.tensorflow_models.keras_files import read_hdf5, read_keras
from workers.engine.toolkits.converters.tensorflow_models.model import Refused, first_line
from workers.engine.toolkits.converters.tensorflow_models.samples import samples
from workers.engine.toolkits.converters.tensorflow_models.saved_models import read_saved_model
from workers.engine.toolkits.converters.tensorflow_models.tflite_files import read_tflite

READERS = {"keras": read_keras, "hdf5": read_hdf5, "saved-model": read_saved_model, "tflite": read_tflite}


def main(kind: str, source: str, folder: str) -> None:
    try:
        answer = _converted(kind, Path(source), Path(folder))
    except Refused as refused:
        answer = {"refused": refused.told}
    (Path(folder) / "answer.json").write_text(json.dumps(answer))


def _converted(kind: str, source: Path, folder: Path) -> dict[str, Any]:
    model = READERS[kind](source)
    kept = samples(model)
    if any(value.dtype.kind not in "fiub" for value in kept.values()):
        raise Refused("unsupported_format", f"An output of the {model.source} is no numbers.", model.instead)
    try:
        model.save(str(folder / "model.onnx"))
    except Exception as error:
        why = f"tf2onnx cannot convert the {model.source}: {first_line(error)}"
        raise Refused("unsupported_format", why, model.instead) from error
    np.savez(folder / "samples.npz", **kept)
    return {"source": model.source, "inputs": [tensor.name for tensor in model.inputs]}


if __name__ == "__main__":
    main(*sys.argv[1:])
