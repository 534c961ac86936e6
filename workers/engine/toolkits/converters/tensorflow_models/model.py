"""A model of any kind, as one that can be run and converted; and why one is not."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

OPSET = 18
FIXED = "Save the network with inputs of a fixed size."


class Refused(Exception):
    """The model is not converted: the code of the failure, why, and what to do."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.told = {"code": code, "message": message, "hint": hint}


class Tensor(NamedTuple):
    """An input: its name in the ONNX file, its shape (None where it varies), its NumPy type."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


class Model(NamedTuple):
    """A model that can be run and converted; `instead` says how its owner can convert it."""

    source: str
    instead: str
    inputs: list[Tensor]
    run: Callable[[list[Any]], list[Any]]
    save: Callable[[str], None]


def first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
