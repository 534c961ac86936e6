"""Reading a table, .csv, .parquet or .arrow, batch by batch into arrays on disk: memory does not grow with the file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv, ipc, parquet

from whetstone.contract.columns import LabelKind
from whetstone.contract.preprocessing import NumberType, Table, TableInput
from workers.engine.data.archive import Array
from workers.engine.data.columns import GrowingArray, LabelColumn, SplitColumn, column_of
from workers.engine.data.errors import InvalidDataset
from workers.engine.data.splits import LABELS
from workers.engine.data.unpacked import Unpacked

ROWS = 65_536
BLOCK = 8 * 2**20
PARQUET, ARROW = b"PAR1", b"ARROW1"
HINT = "Upload UTF-8 .csv with a header, .parquet or .arrow, whose columns are those that the preprocessing names."


def read_table(path: Path, folder: Path, how: Table) -> Unpacked:
    """Write the columns that are named into arrays in `folder`. Raises InvalidDataset, naming the column."""
    columns = [_Input(given, folder / f"{number}.bin") for number, given in enumerate(how.inputs)]
    labels = None if how.label is None else LabelColumn(how.label, folder / "labels.bin")
    splits = None if how.split is None else SplitColumn(how.split)
    try:
        kind, batches = _batches(path, how)
        for batch in batches:
            for each in (*columns, labels, splits):
                if each is not None:
                    each.add(batch)
    except (pa.ArrowException, OSError) as error:
        raise InvalidDataset(f"The table cannot be read: {str(error)[:500]}", hint=HINT) from error
    arrays = {column.given.name: column.end() for column in columns}
    classes: tuple[str, ...] = ()
    if labels is not None:
        arrays[LABELS], classes = labels.end()
    return Unpacked(kind, arrays, None if splits is None else splits.end(), classes)


def _batches(path: Path, how: Table) -> tuple[str, Iterator[pa.RecordBatch]]:
    """The file's format, told by its first bytes, and its rows."""
    with path.open("rb") as file:
        head = file.read(len(ARROW))
    if head.startswith(PARQUET):
        return "parquet", _parquet(path, how)
    return ("arrow", _arrow(path, how)) if head == ARROW else ("csv", _csv(path, how))


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
        yield from file.iter_batches(ROWS, columns=_present(how, file.schema_arrow.names), use_threads=False)


def _arrow(path: Path, how: Table) -> Iterator[pa.RecordBatch]:
    """Of an Arrow IPC file (Feather v2); every batch is validated, as its offsets could point anywhere."""
    with pa.memory_map(str(path)) as source, ipc.open_file(source) as file:
        wanted = _present(how, file.schema.names)
        for number in range(file.num_record_batches):
            whole = file.get_batch(number).select(wanted)
            whole.validate(full=True)
            for start in range(0, whole.num_rows, ROWS):
                yield whole.slice(start, ROWS)


def _present(how: Table, have: list[str]) -> list[str]:
    """Raises InvalidDataset where a column is missing."""
    wanted = _wanted(how)
    if missing := [column for column in wanted if column not in have]:
        raise InvalidDataset(f"The table has no column '{missing[0]}'.", hint=HINT)
    return wanted


_WHOLE = (NumberType.INT32, NumberType.INT64)


class _Input:
    def __init__(self, given: TableInput, path: Path) -> None:
        self.given = given
        self._file = GrowingArray(path, given.dtype, len(given.columns))
        self._kind = pa.int64() if given.dtype in _WHOLE else pa.float64()
        self._limits = np.iinfo(given.dtype) if given.dtype in _WHOLE else None

    def add(self, batch: pa.RecordBatch) -> None:
        columns = [self._numbers(batch, name) for name in self.given.columns]
        self._file.append(np.stack(columns, axis=1))

    def _numbers(self, batch: pa.RecordBatch, name: str) -> Array:
        found: Array = column_of(batch, name, self._kind).to_numpy(zero_copy_only=False)
        limits = self._limits
        if limits is not None and len(found) and not limits.min <= found.min() <= found.max() <= limits.max:
            raise InvalidDataset(f"Column '{name}' holds numbers that {self.given.dtype} cannot.")
        return found

    def end(self) -> Array:
        return self._file.mapped(flat=self.given.flat)
