"""A dataset on disk: what it holds, and its samples in batches."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whetstone.contract.datasets import DatasetFacts, FieldFacts, Split
from whetstone.contract.preprocessing import Preprocessing
from workers.engine.data.archive import Array
from workers.engine.data.errors import InvalidDataset
from workers.engine.data.readers import named_arrays, unpacked
from workers.engine.data.splits import LABELS, Part, parts_of, sort_into_splits

SCAN_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Batch:
    """Samples stacked along axis 0, by input name; `labels` where asked for."""

    inputs: dict[str, Array]
    labels: Array | None

    @property
    def size(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def required_labels(self) -> Array:
        """Raises InvalidDataset if the batch came without labels."""
        if self.labels is None:
            raise InvalidDataset("Labels are needed, and the dataset has none.")
        return self.labels


@dataclass(frozen=True)
class Sample:
    """One sample: its row in the file, without the sample axis."""

    row: int
    split: Split
    fields: dict[str, Array]
    label: Array | None


def _chunks(array: Array) -> Iterator[Array]:
    rows = max(1, SCAN_BYTES // max(1, array.nbytes // len(array)))
    for start in range(0, len(array), rows):
        yield array[start : start + rows]


def _check_values(name: str, array: Array) -> None:
    if array.dtype.kind == "f" and not all(np.isfinite(chunk).all() for chunk in _chunks(array)):
        raise InvalidDataset(f"'{name}' contains NaN or infinite values.")
    if name == LABELS and array.dtype.kind == "i" and any(chunk.min() < 0 for chunk in _chunks(array)):
        raise InvalidDataset("'labels' contains negative class ids; classes count from 0.")


def _take(array: Array, rows: Array | slice) -> Array:
    taken = array[rows]
    return np.array(taken, dtype=taken.dtype.newbyteorder("="), order="C")


def _facts(name: str, array: Array) -> FieldFacts:
    return FieldFacts(name=name, dtype=array.dtype.name, shape=array.shape[1:])


class Samples:
    """The splits of a dataset, memory-mapped. `calibration` means `train` where it has no samples of its own."""

    def __init__(
        self,
        parts: dict[Split, Part],
        *,
        made_splits: bool,
        file_format: str = "npz",
        classes: tuple[str, ...] = (),
        texts: tuple[dict[str, str], ...] = (),
    ) -> None:
        self._parts = parts
        self._made = made_splits
        self._format = file_format
        self.class_names = classes
        self.texts = texts

    def _part(self, split: Split) -> Part:
        part = self._parts.get(split)
        if part is None and split is Split.CALIBRATION:
            part = self._parts.get(Split.TRAIN)
        if part is None:
            raise InvalidDataset(f"The dataset has no {split} split.")
        return part

    def _label_part(self) -> Part | None:
        return next((part for part in self._parts.values() if part.labels is not None), None)

    def _classes(self) -> int | None:
        found: set[int] = set()
        for part in self._parts.values():
            if part.labels is None:
                continue
            if part.labels.dtype.kind == "f":
                return None
            for chunk in _chunks(part.labels):
                found.update(np.unique(chunk).tolist())
        return len(found) or None

    def facts(self) -> DatasetFacts:
        """Read from the arrays; every label is looked at to count the classes."""
        first = next(iter(self._parts.values()))
        labelled = self._label_part()
        splits = {split: len(part) for split, part in self._parts.items()}
        return DatasetFacts(
            format=self._format,
            fields=tuple(_facts(name, array) for name, array in first.fields.items()),
            labels=_facts(LABELS, labelled.labels) if labelled and labelled.labels is not None else None,
            classes=self._classes(),
            class_names=self.class_names,
            splits=splits,
            made_splits=self._made,
            samples=sum(splits.values()),
        )

    def has(self, split: Split) -> bool:
        """Whether `batches` would yield something."""
        return split in self._parts or (split is Split.CALIBRATION and Split.TRAIN in self._parts)

    def count(self, split: Split) -> int:
        """Raises InvalidDataset if there is no such split."""
        return len(self._part(split))

    def has_labels(self, split: Split) -> bool:
        return self.has(split) and self._part(split).labels is not None

    def labels(self, split: Split) -> Array:
        """All labels of a split, in order. Raises InvalidDataset if it has none."""
        part = self._part(split)
        if part.labels is None:
            raise InvalidDataset(f"The {split} split has no labels.")
        return _take(part.labels, slice(None) if part.rows is None else part.rows)

    def has_class_ids(self, split: Split) -> bool:
        """Whether each sample has one label, a whole number."""
        labels = self._parts[split].labels if split in self._parts else None
        return labels is not None and labels.ndim == 1 and labels.dtype.kind in "iu"

    def first(self, count: int) -> list[Sample]:
        """The first samples of the file; where splits have arrays of their own, of the first split."""
        shared = {split: part for split, part in self._parts.items() if part.rows is not None}
        parts = shared or dict(list(self._parts.items())[:1])
        places = [
            (int(row), split)
            for split, part in parts.items()
            for row in (np.arange(min(count, len(part))) if part.rows is None else part.rows[:count])
        ]
        return [self._sample(row, split) for row, split in sorted(places)[:count]]

    def _sample(self, row: int, split: Split) -> Sample:
        part = self._parts[split]
        fields = {name: np.asarray(array[row]) for name, array in part.fields.items()}
        return Sample(row, split, fields, None if part.labels is None else np.asarray(part.labels[row]))

    def batches(
        self,
        split: Split,
        batch_size: int,
        *,
        shuffle_seed: int | None = None,
        with_labels: bool = False,
        within: Array | None = None,
    ) -> Iterator[Batch]:
        """Yield the samples of a split, all of them, the last batch perhaps smaller.

        In the order of the file, or shuffled by `shuffle_seed`. `within` limits it to some positions of the split.
        Raises InvalidDataset if there is no such split, or no labels where they are asked for.
        """
        part = self._part(split)
        if with_labels and part.labels is None:
            raise InvalidDataset(f"The {split} split has no labels.")
        order = np.arange(len(part)) if within is None else within
        if shuffle_seed is not None:
            order = np.random.default_rng(shuffle_seed).permutation(order)
        return self._read(part, order, batch_size, with_labels=with_labels)

    @staticmethod
    def _read(part: Part, order: Array, batch_size: int, *, with_labels: bool) -> Iterator[Batch]:
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            rows = places if part.rows is None else part.rows[places]
            inputs = {name: _take(array, rows) for name, array in part.fields.items()}
            yield Batch(inputs, _take(part.labels, rows) if with_labels and part.labels is not None else None)


def open_dataset(path: Path, scratch: Path, how: Preprocessing | None = None) -> Samples:
    """Unpack a dataset into a new folder of `scratch` and map it. Raises InvalidDataset, naming what is wrong in it.

    Without preprocessing it is an .npz or .h5, whose arrays are named `<input>` and `labels`, or `<split>/<input>` and
    `<split>/labels`. Memory used is independent of the size of the file, but for an index of 8 bytes per sample where
    splits are made.
    """
    folder = Path(tempfile.mkdtemp(dir=scratch, prefix="dataset-"))
    if how is None:
        return _open_arrays(path, folder)
    found = unpacked(path, folder, how)
    for name, array in found.arrays.items():
        _check_values(name, array)
    parts = parts_of(found.arrays, found.splits)
    made = found.splits is None
    return Samples(parts, made_splits=made, file_format=found.format, classes=found.classes, texts=found.texts)


def _open_arrays(path: Path, folder: Path) -> Samples:
    found = named_arrays(path, folder)
    parts, made = sort_into_splits(found.arrays)
    for name, array in found.arrays.items():
        _check_values(name if made else name.partition("/")[2], array)
    return Samples(parts, made_splits=made, file_format=found.format)
