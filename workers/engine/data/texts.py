"""Reading texts: JSON lines and the tokenizer beside them, batch by batch into arrays of token ids on disk."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from whetstone.contract.columns import LabelKind, TableLabel
from whetstone.contract.datasets import Split
from whetstone.contract.texts import Padding, Side, Texts
from workers.engine.data.archive import Array
from workers.engine.data.columns import GrowingArray, LabelColumn, SplitColumn
from workers.engine.data.errors import InvalidDataset
from workers.engine.data.folders import Archive, Entry, open_archive
from workers.engine.data.splits import LABELS
from workers.engine.data.tokens import Tokens, open_tokenizer
from workers.engine.data.unpacked import ORDER, Unpacked

LINES = 512
FIRST, MOST_SHOWN = 16, 1000
"""Texts that are kept to be shown, and so many of their characters."""

MAX_LINE = 4 * 2**20
SUFFIXES = (".jsonl", ".ndjson")
TOKENIZER = "tokenizer.json"
HINT = (
    "Pack .jsonl files, one JSON object a line, and the model's tokenizer.json into a .zip; where there are splits, "
    "name the files after them: train.jsonl, calibration.jsonl, test.jsonl."
)


def read_texts(path: Path, folder: Path, how: Texts) -> Unpacked:
    """Write token ids, masks and types into arrays in `folder`. Raises InvalidDataset, naming file, line and field."""
    with open_archive(path) as archive:
        tokenizer = open_tokenizer(_tokenizer(archive), how)
        entries = _lines_files(archive, how)
        table = _Table(folder, how)
        for entry in entries:
            for rows in _blocks(entry):
                table.add(rows, tokenizer.tokens([row.texts(how) for row in rows], [row.place for row in rows]))
    return table.end()


def _tokenizer(archive: Archive) -> bytes:
    found = [entry for entry in archive.entries() if PurePosixPath(entry.name).name == TOKENIZER]
    if len(found) != 1:
        raise InvalidDataset(f"The archive holds {len(found)} files named {TOKENIZER}; it needs one.", hint=HINT)
    with found[0].open() as file:
        return file.read()


def _lines_files(archive: Archive, how: Texts) -> list[Entry]:
    """Raises InvalidDataset where there are none, or where it is told in two ways, or half, what split they are."""
    entries = [entry for entry in archive.entries() if PurePosixPath(entry.name).suffix.lower() in SUFFIXES]
    named = [entry.name for entry in entries if _split_of(entry.name) is not None]
    if not entries:
        raise InvalidDataset("The archive holds no .jsonl file.", hint=HINT)
    if named and how.split is not None:
        raise InvalidDataset(
            f"'{named[0]}' is named after a split, and '{how.split}' is declared to say it.", hint=HINT
        )
    if named and len(named) < len(entries):
        stray = next(entry.name for entry in entries if entry.name not in named)
        raise InvalidDataset(f"'{stray}' is named after no split, as '{named[0]}' is.", hint=HINT)
    return entries


def _split_of(name: str) -> Split | None:
    stem = PurePosixPath(name).stem
    return Split(stem) if stem in tuple(Split) else None


@dataclass(frozen=True)
class _Row:
    """One object, and where it stands."""

    place: str
    split: Split | None
    fields: dict[str, Any]

    def texts(self, how: Texts) -> tuple[str, ...]:
        return tuple(self._text(column) for column in how.columns)

    def label(self, given: TableLabel) -> str | float:
        """A number, or the name of a class; true and false are such names."""
        found = self._field(given.column)
        if given.kind is LabelKind.VALUE:
            if isinstance(found, bool) or not isinstance(found, int | float):
                self._refuse(given.column, "is no number")
            return float(found)
        if isinstance(found, bool):
            return str(found).lower()
        if not isinstance(found, int | str) or found == "" or not str(found).isprintable():
            self._refuse(given.column, "is neither a whole number nor a name")
        return str(found)

    def _text(self, column: str) -> str:
        found = self._field(column)
        if not isinstance(found, str):
            self._refuse(column, "is no text")
        return found

    def split_named(self, column: str) -> str:
        found = self._text(column)
        if found not in tuple(Split):
            self._refuse(column, f"is none of {', '.join(Split)}")
        return found

    def _field(self, column: str) -> Any:
        if self.fields.get(column) is None:
            self._refuse(column, "is missing")
        return self.fields[column]

    def _refuse(self, column: str, why: str) -> NoReturn:
        raise InvalidDataset(f"{self.place}: field '{column}' {why}.", hint=HINT)


def _blocks(entry: Entry) -> Iterator[list[_Row]]:
    """Rows, so many at a time; empty lines are passed over."""
    split, rows = _split_of(entry.name), list[_Row]()
    with entry.open() as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), 1):
            if line.strip():
                place = f"{entry.name}:{number}"
                rows.append(_Row(place, split, _object(line, place)))
            if len(rows) == LINES:
                yield rows
                rows = []
    if rows:
        yield rows


def _object(line: bytes, place: str) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise InvalidDataset(f"{place}: the line is longer than {MAX_LINE} bytes.", hint=HINT)
    try:
        found = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidDataset(f"{place}: this is no JSON in UTF-8: {error}", hint=HINT) from error
    if not isinstance(found, dict):
        raise InvalidDataset(f"{place}: this is no JSON object.", hint=HINT)
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


class _Table:
    """The arrays of a dataset of texts, which grow row by row."""

    def __init__(self, folder: Path, how: Texts) -> None:
        self._how = how
        self._arrays = {
            name: GrowingArray(folder / f"{number}.bin", how.dtype, how.max_length)
            for number, name in enumerate((how.ids, how.mask, how.types))
            if name is not None
        }
        self._labels = None if how.label is None else LabelColumn(how.label, folder / "labels.bin")
        self._split_column = None if how.split is None else SplitColumn(how.split)
        self._splits: list[NDArray[np.uint8]] = []
        self._longest = 1
        self._first: list[dict[str, str]] = []

    def add(self, rows: list[_Row], tokens: Tokens) -> None:
        for name, numbers in zip((self._how.ids, self._how.mask, self._how.types), tokens.arrays, strict=True):
            if name is not None:
                self._arrays[name].append(numbers)
        self._longest = max(self._longest, tokens.longest)
        for row in rows[: FIRST - len(self._first)]:
            self._first.append({column: row.fields[column][:MOST_SHOWN] for column in self._how.columns})
        if self._labels is not None and self._how.label is not None:
            given = self._how.label
            self._labels.add(pa.record_batch({given.column: [row.label(given) for row in rows]}))
        if self._split_column is not None and self._how.split is not None:
            column = self._how.split
            self._split_column.add(pa.record_batch({column: [row.split_named(column) for row in rows]}))
        elif (split := rows[0].split) is not None:
            self._splits.append(np.full(len(rows), ORDER.index(split), np.uint8))

    def end(self) -> Unpacked:
        arrays = {name: self._cut(grown.mapped(flat=False)) for name, grown in self._arrays.items()}
        classes: tuple[str, ...] = ()
        if self._labels is not None:
            arrays[LABELS], classes = self._labels.end()
        splits = np.concatenate(self._splits) if self._splits else None
        splits = self._split_column.end() if self._split_column else splits
        return Unpacked("texts", arrays, splits, classes, tuple(self._first))

    def _cut(self, array: Array) -> Array:
        """Without the columns that are padding in every row, where that is declared."""
        if self._how.padding is Padding.MAX_LENGTH:
            return array
        return array[:, -self._longest :] if self._how.pad_side is Side.LEFT else array[:, : self._longest]
