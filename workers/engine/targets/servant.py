"""A model in the Python of its toolkit, run for the process that started this.

    python -m workers.engine.targets.servant RUNTIME FILE THREADS

Answers on stdout, each with a line of JSON. First whether the model is loaded; then, for each line that comes on
stdin, what that asks for: `run` for inputs, answered with the outputs; `bind` for inputs, and `call`, which runs what
was bound. A line may have `arrays`: name, type and shape of each, whose bytes follow. Whatever goes wrong is told as
`failed`.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np

from workers.engine.targets.fixed_batch import load

NOTHING: Mapping[str, Any] = MappingProxyType({})


def send(channel: IO[bytes], message: Mapping[str, Any], arrays: Mapping[str, Any] = NOTHING) -> None:
    dense = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    told = [(name, array.dtype.str, array.shape) for name, array in dense.items()]
    channel.write(json.dumps({**message, "arrays": told}).encode() + b"\n")
    for array in dense.values():
        channel.write(array.tobytes())
    channel.flush()


def received(channel: IO[bytes]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """A message and its arrays; None where nothing comes any more."""
    line = channel.readline()
    if not line:
        return None
    message: dict[str, Any] = json.loads(line)
    return message, {name: _read(channel, np.dtype(dtype), shape) for name, dtype, shape in message.pop("arrays")}


def _read(channel: IO[bytes], dtype: Any, shape: list[int]) -> Any:
    content = channel.read(dtype.itemsize * math.prod(shape))
    return np.frombuffer(content, dtype).reshape(shape).copy()


def serve(model: Any, commands: IO[bytes], answers: IO[bytes]) -> None:
    """Until nobody asks any more."""
    bound: Callable[[], object] = int
    while (message := received(commands)) is not None:
        asked, given = message
        try:
            if asked["do"] == "run":
                send(answers, {}, model.run(given))
                continue
            if asked["do"] == "bind":
                bound = model.bind(given)
            else:
                bound()
            send(answers, {})
        except Exception as error:  # noqa: BLE001 - whatever a runtime throws must reach the other side as a sentence
            send(answers, {"failed": str(error)[:500], "kind": type(error).__name__})


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what runtimes print can break nothing
    runtime, file, threads = sys.argv[1:]
    try:
        model = load(runtime, Path(file), int(threads))
    except Exception as error:  # noqa: BLE001 - as above
        send(answers, {"failed": str(error)[:500], "kind": type(error).__name__})
        return
    send(answers, {})
    serve(model, sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
