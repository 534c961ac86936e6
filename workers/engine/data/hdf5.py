"""Reading an HDF5 file, array by array into memory-mapped files: memory does not grow with the file."""

from pathlib import Path

import h5py
import numpy as np

from workers.engine.data.archive import CHUNK, KINDS, MAX_BYTES, MAX_MEMBERS, Array
from workers.engine.data.errors import InvalidDataset

HINT = "Write each array as a dataset named after its input, such as file['image'] or file['train/image']."


def read_hdf5(path: Path, folder: Path) -> dict[str, Array]:
    """Copy every dataset into `folder` and map it, by its path in the file. Raises InvalidDataset, naming it.

    Links to elsewhere, virtual datasets and external storage are refused: they would read other files.
    """
    arrays: dict[str, Array] = {}
    try:
        with h5py.File(path, "r") as file:
            found = _datasets(file, "", 0)
            if sum(int(dataset.nbytes) for dataset in found.values()) > MAX_BYTES:
                raise InvalidDataset(f"The file would unpack to more than {MAX_BYTES} bytes.")
            for number, (name, dataset) in enumerate(found.items()):
                _check(name, dataset)
                arrays[name] = _copied(dataset, folder / f"{number}.npy")
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise InvalidDataset(f"The file is not a whole .h5 file: {str(error)[:300]}", hint=HINT) from error
    if not arrays:
        raise InvalidDataset("The file holds no arrays.", hint=HINT)
    return arrays


def _datasets(group: h5py.Group, prefix: str, depth: int) -> dict[str, h5py.Dataset]:
    """By path; two levels at most, split and input. A group that holds itself ends there."""
    found: dict[str, h5py.Dataset] = {}
    for name in group:
        path = f"{prefix}{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise InvalidDataset(f"'{path}' is a link; only arrays in the file itself are read.", hint=HINT)
        each = group[name]
        if isinstance(each, h5py.Dataset):
            found[path] = each
        elif isinstance(each, h5py.Group) and depth == 0:
            found |= _datasets(each, f"{path}/", depth + 1)
        else:
            raise InvalidDataset(f"'{path}' is no array, or too deep in groups.", hint=HINT)
        if len(found) > MAX_MEMBERS:
            raise InvalidDataset(f"The file holds more than {MAX_MEMBERS} arrays.")
    return found


def _check(name: str, dataset: h5py.Dataset) -> None:
    if dataset.is_virtual or dataset.external is not None:
        raise InvalidDataset(f"'{name}' lies in another file; only arrays in the file itself are read.", hint=HINT)
    if dataset.dtype.kind not in KINDS:
        raise InvalidDataset(f"'{name}' holds {dataset.dtype}; only numbers and booleans are read.")
    if not dataset.shape or 0 in dataset.shape:
        raise InvalidDataset(f"'{name}' is empty or a single number; samples are stacked along the first axis.")


def _copied(dataset: h5py.Dataset, target: Path) -> Array:
    shape = dataset.shape
    made = np.lib.format.open_memmap(target, mode="w+", dtype=dataset.dtype, shape=shape)
    rows = max(1, CHUNK * 16 // max(1, int(dataset.nbytes) // shape[0]))
    for start in range(0, shape[0], rows):
        made[start : start + rows] = dataset[start : start + rows]
    made.flush()
    array: Array = np.load(target, mmap_mode="r", allow_pickle=False)
    return array
