"""A model of any kind, as one that can be run and converted; and why one is not."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

OPSET = 18
FIXED = "Save the network with inputs of a fixed size."
SIZES = (32, 224)
"""Deep networks need large images."""


class Refused(Exception):
    """The model is not converted: the code of the failure, why, and what to do."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.told = {"code": code, "message": message, "hint": hint}


class Tensor(NamedTuple):
    """An input: its name in the ONNX file, its shape (None where it varies), its NumPy type.

    Integers are drawn from 0 up to `below`: 0 and 1 are words that every vocabulary has. One that says how long the
    rows are is `padded`: ones, then zeros.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    below: int = 2
    padded: bool = False


class Model(NamedTuple):
    """A model that can be run and converted; `instead` says how its owner can convert it.

    Axes of no fixed size, but the first, are given one of `sizes`, tried in turn.
    """

    source: str
    instead: str
    inputs: list[Tensor]
    run: Callable[[list[Any]], list[Any]]
    save: Callable[[str], None]
    sizes: tuple[int, ...] = SIZES


def first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
