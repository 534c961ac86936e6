"""Calibration samples at the tenant's side: .npz and .npy files, read row by row where they lie."""

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnx import ValueInfoProto, helper

from whetstone.calibration.arrays import Array
from whetstone.errors import WhetstoneError

BATCH = 16
SEED = 0
SPLITS = ("calibration", "train")
FORM = "save them with numpy.savez('data.npz', **{'input name': samples}), a row for each sample"


class UnreadableSamples(WhetstoneError):
    """The files hold no samples of the model."""


class CalibrationSamples:
    """A seeded choice of the samples in a file, or in all files of a folder, which follow each other by name.

    An .npz has an array for each input, perhaps behind `calibration/` or `train/`; an .npy is that of the only input.
    Other arrays are passed over.
    """

    def __init__(self, data: Path, inputs: dict[str, ValueInfoProto], folder: Path, most: int) -> None:
        """Raises UnreadableSamples."""
        files = sorted(path for path in data.iterdir() if path.suffix in (".npz", ".npy")) if data.is_dir() else [data]
        if not files:
            raise UnreadableSamples(f"{data} holds no .npz or .npy file: {FORM}.")
        self._parts = [_arrays(path, inputs, folder / str(number)) for number, path in enumerate(files)]
        self._starts = np.cumsum([0, *(_length(part, path) for part, path in zip(self._parts, files, strict=True))])
        total = int(self._starts[-1])
        order = np.random.default_rng(SEED).permutation(total)
        self._chosen = np.sort(order[:most])
        self.count = len(self._chosen)

    def batches(self, size: int) -> Iterator[dict[str, Array]]:
        """Yield the chosen samples in order, by input name."""
        for start in range(0, self.count, size):
            yield self._batch(self._chosen[start : start + size])

    def _batch(self, rows: Array) -> dict[str, Array]:
        parts = np.searchsorted(self._starts, rows, side="right") - 1
        found = [
            {name: array[rows[parts == part] - self._starts[part]] for name, array in self._parts[part].items()}
            for part in np.unique(parts)
        ]
        return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def _arrays(path: Path, inputs: dict[str, ValueInfoProto], folder: Path) -> dict[str, Array]:
    """Mapped from disk, of the model's types."""
    folder.mkdir()
    try:
        found = {next(iter(inputs)): _mapped(path)} if path.suffix == ".npy" else _unpacked(path, inputs, folder)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UnreadableSamples(f"{path} cannot be read: {error}; {FORM}.") from error
    if missing := [name for name in inputs if name not in found]:
        raise UnreadableSamples(f"{path} has no array '{missing[0]}', which the model takes: {FORM}.")
    for name, array in found.items():
        wanted = helper.tensor_dtype_to_np_dtype(inputs[name].type.tensor_type.elem_type)
        if array.dtype != wanted:
            raise UnreadableSamples(f"{path}: '{name}' is {array.dtype}, and the model takes {wanted}.")
    return found


def _unpacked(path: Path, inputs: dict[str, ValueInfoProto], folder: Path) -> dict[str, Array]:
    """Each wanted array in a file of its own, so that it can be mapped: memory does not grow with the archive."""
    found: dict[str, Array] = {}
    with zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        prefix = next((f"{split}/" for split in SPLITS if f"{split}/{next(iter(inputs))}" in members), "")
        for number, name in enumerate(inputs):
            if f"{prefix}{name}" in members:
                target = folder / f"{number}.npy"
                with archive.open(members[f"{prefix}{name}"]) as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out)
                found[name] = _mapped(target)
    return found


def _mapped(path: Path) -> Array:
    array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _length(arrays: dict[str, Array], path: Path) -> int:
    lengths = {len(array) if array.ndim else 0 for array in arrays.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise UnreadableSamples(f"{path}: the arrays of the inputs need the same number of rows, at least one.")
    return lengths.pop()
