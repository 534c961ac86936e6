"""HDF5 and single arrays: the same samples as an .npz of the same arrays, and every way a file can be wrong."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from whetstone.contract.datasets import Split
from whetstone.contract.preprocessing import SingleArray
from workers.engine.data import hdf5
from workers.engine.data.errors import InvalidDataset
from workers.engine.data.samples import open_dataset

ROWS = np.arange(60, dtype=np.float32).reshape(20, 3)
LABELS = np.arange(20) % 2


def written(tmp_path: Path, write: Callable[[h5py.File], object]) -> Path:
    with h5py.File(tmp_path / "d.h5", "w") as file:
        write(file)
    return tmp_path / "d.h5"


def test_arrays_are_what_they_are_in_an_npz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "CHUNK", 2)

    def write(file: h5py.File) -> None:
        file.create_dataset("x", data=ROWS, chunks=(3, 2), compression="gzip")
        file.create_dataset("labels", data=LABELS)

    np.savez(tmp_path / "d.npz", x=ROWS, labels=LABELS)
    ours, other = (open_dataset(path, tmp_path) for path in (written(tmp_path, write), tmp_path / "d.npz"))
    assert ours.facts() == other.facts().model_copy(update={"format": "hdf5"})
    for split in Split:
        (left,), (right,) = (list(each.batches(split, 100, with_labels=True)) for each in (ours, other))
        assert (left.inputs["x"] == right.inputs["x"]).all()
        assert (left.required_labels == right.required_labels).all()


def test_groups_are_splits(tmp_path: Path) -> None:
    def write(file: h5py.File) -> None:
        for split, rows in (("train", 15), ("test", 5)):
            file[f"{split}/x"] = ROWS[:rows]

    facts = open_dataset(written(tmp_path, write), tmp_path).facts()
    assert (facts.splits, facts.made_splits) == ({Split.TRAIN: 15, Split.TEST: 5}, False)


def link_outside(file: h5py.File) -> None:
    file["x"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: h5py.File) -> None:
    file["a"] = ROWS
    file["x"] = h5py.SoftLink("/a")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(2,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(2,))
    file.create_virtual_dataset("x", layout)


def external(file: h5py.File) -> None:
    file.create_dataset("x", shape=(4,), dtype="u1", external=[("/etc/passwd", 0, 4)])


def circle(file: h5py.File) -> None:
    file["a/x"] = ROWS
    file["a/a"] = file["a"]


WRONG: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "a link to another file": (link_outside, "'x' is a link"),
    "a link within": (soft_link, "'x' is a link"),
    "a virtual dataset": (virtual, "'x' lies in another file"),
    "external storage": (external, "'x' lies in another file"),
    "a group in itself": (circle, "'a/a' is no array"),
    "text": (lambda file: file.create_dataset("x", data=["a", "b"]), "only numbers"),
    "a single number": (lambda file: file.create_dataset("x", data=1.0), "single number"),
    "no rows": (lambda file: file.create_dataset("x", shape=(0, 3), dtype="f4"), "empty"),
    "nothing": (lambda _: None, "no arrays"),
    "too much": (
        lambda file: file.create_dataset("x", shape=(2**40, 3), dtype="f4", chunks=(1, 3)),
        "more than",
    ),
    "a compound": (lambda file: file.create_dataset("x", shape=(3,), dtype=[("a", "f4")]), "only numbers"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, name: str) -> None:
    write, told = WRONG[name]
    with pytest.raises(InvalidDataset, match=told):
        open_dataset(written(tmp_path, write), tmp_path)


def test_a_file_that_breaks_off(tmp_path: Path) -> None:
    path = written(tmp_path, lambda file: file.create_dataset("x", data=ROWS))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InvalidDataset, match=r"not a whole \.h5 file"):
        open_dataset(path, tmp_path)


def test_a_single_array(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", ROWS)
    samples = open_dataset(tmp_path / "d.npy", tmp_path, SingleArray(input="x"))
    assert (samples.facts().format, samples.facts().samples, samples.facts().fields[0].shape) == ("npy", 20, (3,))
    (tmp_path / "d.npy").write_bytes((tmp_path / "d.npy").read_bytes()[:200])
    with pytest.raises(InvalidDataset, match="breaks off"):
        open_dataset(tmp_path / "d.npy", tmp_path, SingleArray(input="x"))
    (tmp_path / "d.npy").write_bytes(b"no array")
    with pytest.raises(InvalidDataset, match="not a NumPy array"):
        open_dataset(tmp_path / "d.npy", tmp_path, SingleArray(input="x"))
