"""Rows of a table in the place of a one-hot encoding times a matrix, with what is done to each element of them.

A one-hot encoding picks a row of the matrix. What is then done element by element can be done to the rows beforehand.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from workers.engine.graph.graph import Array, name_of
from workers.engine.passes.substituting.elementwise import computed, is_row, parts
from workers.engine.passes.substituting.replacement import Maker, Replacement
from workers.engine.passes.substituting.view import View

MATRIX = 2
MOST_BYTES = 64 * 2**20
LEAST_OPSET = 13
"""Before this, Squeeze has its axes elsewhere; before 12, Clip takes no integers."""


def find(view: View) -> Iterator[Replacement]:
    """Products of a one-hot encoding, over the last axis, with a constant matrix."""
    for node in view.nodes("MatMul") if view.graph.opset >= LEAST_OPSET else ():
        rows = view.floats(node.input[1])
        if rows is None or rows.ndim != MATRIX or rows.nbytes > MOST_BYTES:
            continue
        numbers = _encoded(view, node.input[0], len(rows))
        if numbers is not None:
            yield _looked_up(view, node, numbers, rows)


@dataclass(frozen=True)
class _Numbers:
    """A tensor of class numbers, with a last axis of length 1."""

    tensor: str
    dtype: np.dtype[np.generic]


def _encoded(view: View, tensor: str, classes: int) -> _Numbers | None:
    """The numbers that were compared with 0, 1, … up to the last class, if `tensor` comes of that."""
    cast = view.maker(tensor, "Cast")
    equal = view.maker(cast.input[0], "Equal") if cast is not None else None
    for name, other in (equal.input, reversed(equal.input)) if equal is not None else ():
        numbers = view.constant(other)
        if numbers is None or numbers.dtype.kind != "i" or not is_row(numbers):
            continue
        wide = view.maker(name, "Expand")
        narrow = wide.input[0] if wide is not None else name
        shape = view.shapes.get(narrow)
        if np.array_equal(numbers.reshape(-1), np.arange(classes)) and shape and shape[-1] == 1:
            return _Numbers(narrow, numbers.dtype)
    return None


def _looked_up(view: View, node: NodeProto, numbers: _Numbers, rows: Array) -> Replacement:
    """Numbers outside of the range are no class: their encoding is all zeros, as is one more row of the table."""
    table, end = np.concatenate([rows, np.zeros_like(rows[:1])]), node.output[0]
    after, within = next(parts(view, end, is_row), (end, ()))
    if within:
        table, end = computed(view, end, within, table), after
    made = Maker(name_of(node))
    least, most = (made.constant(np.array(value, numbers.dtype)) for value in (-1, len(rows)))
    places = made.add("Squeeze", made.add("Clip", numbers.tensor, least, most), made.ints(-1))
    made.add("Gather", made.constant(table), places, output=end, axis=0)
    told = f"rows of a table of {len(rows)}" + (f", with {len(within)} operators after it" if within else "")
    return made.of((node, *within), told)
