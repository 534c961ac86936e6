"""Reading a table, .csv or .parquet, batch by batch into arrays on disk: memory does not grow with the file."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, parquet

from whetstone.contract.datasets import Split
from whetstone.contract.preprocessing import LabelKind, NumberType, Table, TableInput, TableLabel
from workers.engine.data.archive import MAX_BYTES, Array
from workers.engine.data.errors import InvalidDataset
from workers.engine.data.splits import LABELS
from workers.engine.data.unpacked import ORDER, Unpacked

ROWS = 65_536
BLOCK = 8 * 2**20
MAX_CLASSES = 1_000_000
PARQUET = b"PAR1"
HINT = "Upload UTF-8 .csv with a header, or .parquet, whose columns are those that the preprocessing names."
FILL = "Fill them in, or leave those rows out."
_NUMBER = re.compile(r"\d{1,18}")


def read_table(path: Path, folder: Path, how: Table) -> Unpacked:
    """Write the columns that are named into arrays in `folder`. Raises InvalidDataset, naming the column."""
    with path.open("rb") as file:
        is_parquet = file.read(len(PARQUET)) == PARQUET
    columns = [_Input(given, folder / f"{number}.bin") for number, given in enumerate(how.inputs)]
    labels = None if how.label is None else _Labels(how.label, folder / "labels.bin")
    splits = None if how.split is None else _Splits(how.split)
    try:
        for batch in _parquet(path, how) if is_parquet else _csv(path, how):
            for each in (*columns, labels, splits):
                if each is not None:
                    each.add(batch)
    except (pa.ArrowException, OSError) as error:
        raise InvalidDataset(f"The table cannot be read: {str(error)[:500]}", hint=HINT) from error
    arrays = {column.given.name: column.end() for column in columns}
    classes: tuple[str, ...] = ()
    if labels is not None:
        arrays[LABELS], classes = labels.end()
    kind = "parquet" if is_parquet else "csv"
    return Unpacked(kind, arrays, None if splits is None else splits.end(), classes)


def _wanted(how: Table) -> list[str]:
    named = [column for given in how.inputs for column in given.columns]
    named += [how.label.column] if how.label else []
    named += [how.split] if how.split else []
    return list(dict.fromkeys(named))


def _csv(path: Path, how: Table) -> Iterator[pa.RecordBatch]:
    types = {column: pa.float64() for given in how.inputs for column in given.columns}
    types |= {column: pa.int64() for given in how.inputs if given.dtype in _WHOLE for column in given.columns}
    if how.label is not None:
        types[how.label.column] = pa.float64() if how.label.kind is LabelKind.VALUE else pa.string()
    types |= {how.split: pa.string()} if how.split else {}
    return iter(
        csv.open_csv(
            path,
            read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK),
            parse_options=csv.ParseOptions(delimiter=how.delimiter),
            convert_options=csv.ConvertOptions(include_columns=_wanted(how), column_types=types),
        )
    )


def _parquet(path: Path, how: Table) -> Iterator[pa.RecordBatch]:
    with parquet.ParquetFile(path) as file:
        wanted, have = _wanted(how), file.schema_arrow.names
        if missing := [column for column in wanted if column not in have]:
            raise InvalidDataset(f"The table has no column '{missing[0]}'.", hint=HINT)
        yield from file.iter_batches(ROWS, columns=wanted, use_threads=False)


_WHOLE = (NumberType.INT32, NumberType.INT64)


def _column(batch: pa.RecordBatch, name: str, kind: pa.DataType) -> pa.Array:
    """Raises InvalidDataset where a cell is empty or of another kind."""
    found = batch.column(name)
    if found.null_count:
        raise InvalidDataset(f"Column '{name}' has empty cells.", hint=FILL)
    found = found.dictionary_decode() if pa.types.is_dictionary(found.type) else found
    try:
        return found if found.type == kind else pc.cast(found, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidDataset(f"Column '{name}' holds {found.type}, not {kind}: {str(error)[:200]}") from error


class _File:
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
            raise InvalidDataset(f"The table would unpack to more than {MAX_BYTES} bytes.")
        with self._path.open("ab") as file:
            np.ascontiguousarray(numbers, self._dtype).tofile(file)

    def mapped(self, *, flat: bool, writable: bool = False) -> Array:
        if not self._rows:
            raise InvalidDataset("The table has no rows.")
        shape = (self._rows,) if flat else (self._rows, self._width)
        return np.memmap(self._path, self._dtype, "r+" if writable else "r", shape=shape)


class _Input:
    def __init__(self, given: TableInput, path: Path) -> None:
        self.given = given
        self._file = _File(path, given.dtype, len(given.columns))
        self._kind = pa.int64() if given.dtype in _WHOLE else pa.float64()
        self._limits = np.iinfo(given.dtype) if given.dtype in _WHOLE else None

    def add(self, batch: pa.RecordBatch) -> None:
        columns = [self._numbers(batch, name) for name in self.given.columns]
        self._file.append(np.stack(columns, axis=1))

    def _numbers(self, batch: pa.RecordBatch, name: str) -> Array:
        found: Array = _column(batch, name, self._kind).to_numpy(zero_copy_only=False)
        limits = self._limits
        if limits is not None and len(found) and not limits.min <= found.min() <= found.max() <= limits.max:
            raise InvalidDataset(f"Column '{name}' holds numbers that {self.given.dtype} cannot.")
        return found

    def end(self) -> Array:
        return self._file.mapped(flat=self.given.flat)


class _Labels:
    """Classes are noted as they come, and numbered in the order of their names at the end."""

    def __init__(self, given: TableLabel, path: Path) -> None:
        self._given = given
        self._file = _File(path, "float32" if given.kind is LabelKind.VALUE else "int64", 1)
        self._seen: dict[str, int] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        if self._given.kind is LabelKind.VALUE:
            self._file.append(_column(batch, self._given.column, pa.float64()).to_numpy(zero_copy_only=False))
            return
        found = _column(batch, self._given.column, pa.string()).dictionary_encode()
        if "" in found.dictionary.to_pylist():
            raise InvalidDataset(f"Column '{self._given.column}' has empty cells.", hint=FILL)
        ids = [self._seen.setdefault(name, len(self._seen)) for name in found.dictionary.to_pylist()]
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


class _Splits:
    def __init__(self, column: str) -> None:
        self._column = column
        self._parts: list[NDArray[np.uint8]] = []

    def add(self, batch: pa.RecordBatch) -> None:
        found = _column(batch, self._column, pa.string()).dictionary_encode()
        names = found.dictionary.to_pylist()
        if strange := [name for name in names if name not in tuple(Split)]:
            allowed = ", ".join(Split)
            raise InvalidDataset(f"Column '{self._column}' says '{strange[0]}'; splits are {allowed}.")
        places = np.array([ORDER.index(Split(name)) for name in names], np.uint8)
        self._parts.append(places[found.indices.to_numpy(zero_copy_only=False)])

    def end(self) -> NDArray[np.uint8]:
        return np.concatenate(self._parts) if self._parts else np.empty(0, np.uint8)
