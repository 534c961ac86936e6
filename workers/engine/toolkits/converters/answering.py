"""What a converter leaves: `answer.json` and, unless that says why not, `model.onnx` and `samples.npz`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from workers.engine.toolkits.converters.model import Model, Refused, first_line
from workers.engine.toolkits.converters.samples import samples


def answer(read: Callable[[], Model], folder: Path, converter: str) -> None:
    """`read` raises Refused, as do all the others of this package; `converter` is what turns the model into ONNX."""
    try:
        told = _converted(read(), folder, converter)
    except Refused as refused:
        told = {"refused": refused.told}
    (folder / "answer.json").write_text(json.dumps(told))


def _converted(model: Model, folder: Path, converter: str) -> dict[str, Any]:
    kept = samples(model)
    if any(value.dtype.kind not in "fiub" for value in kept.values()):
        raise Refused("unsupported_format", f"An output of the {model.source} is no numbers.", model.instead)
    try:
        model.save(str(folder / "model.onnx"))
    except Exception as error:
        why = f"{converter} cannot convert the {model.source}: {first_line(error.__cause__ or error)}"
        raise Refused("unsupported_format", why, model.instead) from error
    np.savez(folder / "samples.npz", **kept)
    return {"source": model.source, "inputs": [tensor.name for tensor in model.inputs]}
