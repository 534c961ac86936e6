"""Sorting the arrays of a dataset into splits, or making the splits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whetstone.contract.datasets import Split
from workers.engine.data.archive import Array
from workers.engine.data.errors import InvalidDataset

LABELS = "labels"
SEED = 20240607
PATTERN = (
    Split.TEST, Split.TRAIN, Split.TRAIN, Split.TRAIN, Split.CALIBRATION,
    Split.TRAIN, Split.TEST, Split.TRAIN, Split.TRAIN, Split.TRAIN,
)  # fmt: skip
"""Of ten samples in a row of one class seven are to train, one to calibrate and two to test; the first is to test."""


@dataclass(frozen=True)
class Part:
    """One split: arrays of equal length, and which of their rows belong to it (None: all)."""

    fields: dict[str, Array]
    labels: Array | None
    rows: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.rows) if self.rows is not None else len(next(iter(self.fields.values())))


def _part(arrays: dict[str, Array], where: str) -> Part:
    fields = {name: array for name, array in arrays.items() if name != LABELS}
    if not fields:
        raise InvalidDataset(f"{where} has labels but no inputs.")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
        raise InvalidDataset(f"{where} has arrays of unequal length: {told}.")
    return Part(fields, arrays.get(LABELS))


def _by_prefix(arrays: dict[str, Array]) -> dict[Split, dict[str, Array]]:
    found: dict[Split, dict[str, Array]] = {}
    for member, array in arrays.items():
        prefix, _, name = member.partition("/")
        if name and prefix in tuple(Split):
            found.setdefault(Split(prefix), {})[name] = array
    return found


def _check_alike(parts: dict[Split, Part]) -> None:
    """Every split has the same fields of the same type and sample shape. Labels are what is tested with: those of the
    train split alone would leave nothing to judge by.
    """
    (first, model), *others = parts.items()
    for split, part in others:
        if missing := part.fields.keys() ^ model.fields.keys():
            raise InvalidDataset(f"Splits {first} and {split} have different fields: {', '.join(sorted(missing))}.")
        for name, array in part.fields.items():
            other = model.fields[name]
            if (array.dtype, array.shape[1:]) != (other.dtype, other.shape[1:]):
                raise InvalidDataset(f"'{name}' differs in type or sample shape between {first} and {split}.")
    train, test = parts.get(Split.TRAIN), parts.get(Split.TEST)
    if train is not None and train.labels is not None and test is not None and test.labels is None:
        raise InvalidDataset("The train split has labels, the test split has none.")


def _class_order(labels: Array | None, count: int) -> NDArray[np.int64]:
    """All rows in random order, but sorted by class where labels are class ids."""
    order = np.random.default_rng(SEED).permutation(count).astype(np.int64)
    if labels is None or labels.ndim > 1 or labels.dtype.kind == "f":
        return order
    return order[np.argsort(labels[order], kind="stable")]


def _made(arrays: dict[str, Array]) -> dict[Split, Part]:
    whole = _part(arrays, "The dataset")
    order = _class_order(whole.labels, len(whole))
    turn = np.arange(len(order)) % len(PATTERN)
    parts: dict[Split, Part] = {}
    for split in Split:
        places = [place for place, owner in enumerate(PATTERN) if owner is split]
        rows = np.sort(order[np.isin(turn, places)])
        if len(rows):
            parts[split] = Part(whole.fields, whole.labels, rows)
    return parts


def parts_of(arrays: dict[str, Array], places: NDArray[np.uint8] | None) -> dict[Split, Part]:
    """The splits, by each row's place in `Split`; made where the file does not tell. Raises InvalidDataset."""
    if places is None:
        return _made(arrays)
    whole = _part(arrays, "The dataset")
    rows = {split: np.flatnonzero(places == place) for place, split in enumerate(Split)}
    return {split: Part(whole.fields, whole.labels, found) for split, found in rows.items() if len(found)}


def sort_into_splits(arrays: dict[str, Array]) -> tuple[dict[Split, Part], bool]:
    """The splits, and whether they were made here: 70 % train, 10 % calibration, 20 % test, seeded, by class.

    The index of a made split takes 8 bytes per sample. Raises InvalidDataset.
    """
    prefixed = _by_prefix(arrays)
    if not prefixed:
        return _made(arrays), True
    if sum(map(len, prefixed.values())) < len(arrays):
        stray = next(name for name in arrays if name.partition("/")[0] not in tuple(Split))
        raise InvalidDataset(f"'{stray}' belongs to no split, while other arrays do (train/, calibration/, test/).")
    parts = {split: _part(prefixed[split], f"Split {split}") for split in Split if split in prefixed}
    _check_alike(parts)
    return parts, False
