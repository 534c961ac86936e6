"""Columns that are appended block by block: numbers in a file of their own, labels as class ids, rows' splits."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from whetstone.contract.columns import LabelKind, TableLabel
from whetstone.contract.datasets import Split
from workers.engine.data.archive import MAX_BYTES, Array
from workers.engine.data.errors import InvalidDataset
from workers.engine.data.unpacked import ORDER

ROWS = 65_536
MAX_CLASSES = 1_000_000
MAX_NAME = 300
FILL = "Fill them in, or leave those rows out."
_NUMBER = re.compile(r"\d{1,18}")


def column_of(batch: pa.RecordBatch, name: str, kind: pa.DataType) -> pa.Array:
    """Raises InvalidDataset where a cell is empty or of another kind."""
    found = batch.column(name)
    if found.null_count:
        raise InvalidDataset(f"Column '{name}' has empty cells.", hint=FILL)
    found = found.dictionary_decode() if pa.types.is_dictionary(found.type) else found
    try:
        return found if found.type == kind else pc.cast(found, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidDataset(f"Column '{name}' holds {found.type}, not {kind}: {str(error)[:200]}") from error


class GrowingArray:
    """Numbers that are appended, then mapped."""

    def __init__(self, path: Path, dtype: str, width: int) -> None:
        self._path = path
        self._dtype = np.dtype(dtype)
        self._width = width
        self._rows = 0
        path.touch()

    def append(self, numbers: Array) -> None:
        """(rows, width) or (rows,)."""
        self._rows += len(numbers)
        size = self._rows * self._width * self._dtype.itemsize
        if size > MAX_BYTES:
            raise InvalidDataset(f"The dataset would unpack to more than {MAX_BYTES} bytes.")
        with self._path.open("ab") as file:
            np.ascontiguousarray(numbers, self._dtype).tofile(file)

    def mapped(self, *, flat: bool, writable: bool = False) -> Array:
        if not self._rows:
            raise InvalidDataset("The dataset has no rows.")
        shape = (self._rows,) if flat else (self._rows, self._width)
        return np.memmap(self._path, self._dtype, "r+" if writable else "r", shape=shape)


class LabelColumn:
    """Classes are noted as they come, and numbered in the order of their names at the end."""

    def __init__(self, given: TableLabel, path: Path) -> None:
        self._given = given
        self._file = GrowingArray(path, "float32" if given.kind is LabelKind.VALUE else "int64", 1)
        self._seen: dict[str, int] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        if self._given.kind is LabelKind.VALUE:
            self._file.append(column_of(batch, self._given.column, pa.float64()).to_numpy(zero_copy_only=False))
            return
        found = column_of(batch, self._given.column, pa.string()).dictionary_encode()
        names = found.dictionary.to_pylist()
        if "" in names:
            raise InvalidDataset(f"Column '{self._given.column}' has empty cells.", hint=FILL)
        if any(len(name) > MAX_NAME or not name.isprintable() for name in names):
            raise InvalidDataset(
                f"Column '{self._given.column}' names a class in more than {MAX_NAME} characters, or unprintable ones."
            )
        ids = [self._seen.setdefault(name, len(self._seen)) for name in names]
        if len(self._seen) > MAX_CLASSES:
            raise InvalidDataset(
                f"Column '{self._given.column}' holds more than {MAX_CLASSES} classes.",
                hint="Declare its kind as `value` if the labels are real numbers.",
            )
        self._file.append(np.asarray(ids, np.int64)[found.indices.to_numpy(zero_copy_only=False)])

    def end(self) -> tuple[Array, tuple[str, ...]]:
        labels = self._file.mapped(flat=True, writable=True)
        if self._given.kind is LabelKind.VALUE:
            return labels, ()
        whole = all(_NUMBER.fullmatch(name) for name in self._seen)
        names = () if whole else tuple(sorted(self._seen))
        ids = {name: number for number, name in enumerate(names)}
        numbers = np.array([int(name) if whole else ids[name] for name in self._seen], np.int64)
        for start in range(0, len(labels), ROWS):
            labels[start : start + ROWS] = numbers[labels[start : start + ROWS]]
        return labels, names


class SplitColumn:
    def __init__(self, column: str) -> None:
        self._column = column
        self._parts: list[NDArray[np.uint8]] = []

    def add(self, batch: pa.RecordBatch) -> None:
        found = column_of(batch, self._column, pa.string()).dictionary_encode()
        names = found.dictionary.to_pylist()
        if strange := [name for name in names if name not in tuple(Split)]:
            allowed = ", ".join(Split)
            raise InvalidDataset(f"Column '{self._column}' says '{strange[0]}'; splits are {allowed}.")
        places = np.array([ORDER.index(Split(name)) for name in names], np.uint8)
        self._parts.append(places[found.indices.to_numpy(zero_copy_only=False)])

    def end(self) -> NDArray[np.uint8]:
        return np.concatenate(self._parts) if self._parts else np.empty(0, np.uint8)
