"""Datasets: splits, batches, and every way a file can be wrong."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whetstone.contract.datasets import Split
from workers.engine.data.errors import InvalidDataset
from workers.engine.data.samples import Samples, open_dataset

X = np.arange(200, dtype=np.float32).reshape(100, 2)
LABELS = np.repeat(np.arange(10), 10)


def opened(tmp_path: Path, **arrays: Any) -> Samples:
    np.savez(tmp_path / "d.npz", **arrays)
    return open_dataset(tmp_path / "d.npz", tmp_path)


def test_given_splits_are_kept(tmp_path: Path) -> None:
    samples = opened(tmp_path, **{"train/x": X, "train/labels": LABELS, "test/x": X[:5], "test/labels": LABELS[:5]})
    facts = samples.facts()
    assert (facts.splits, facts.made_splits, facts.samples) == ({Split.TRAIN: 100, Split.TEST: 5}, False, 105)
    assert (facts.fields[0].name, facts.fields[0].dtype, facts.fields[0].shape) == ("x", "float32", (2,))
    assert (facts.classes, facts.labels and facts.labels.shape) == (10, ())
    assert samples.has(Split.CALIBRATION)
    assert samples.count(Split.CALIBRATION) == 100


def test_made_splits_are_stratified_complete_and_the_same_each_time(tmp_path: Path) -> None:
    first = opened(tmp_path, x=X, labels=LABELS)
    second = open_dataset(tmp_path / "d.npz", tmp_path)
    assert first.facts().made_splits
    assert first.facts().splits == {Split.TRAIN: 70, Split.CALIBRATION: 10, Split.TEST: 20}
    assert np.bincount(first.labels(Split.TEST)).tolist() == [2] * 10
    seen = np.concatenate([b.inputs["x"] for s in Split for b in first.batches(s, 7)])
    assert sorted(seen[:, 0].tolist()) == X[:, 0].tolist()
    assert (first.labels(Split.TRAIN) == second.labels(Split.TRAIN)).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_tiny_set_has_a_test_sample(tmp_path: Path, count: int) -> None:
    samples = opened(tmp_path, x=X[:count])
    assert samples.count(Split.TEST) == 1
    assert samples.has(Split.TRAIN) == (count > 1)


def test_batches_keep_inputs_and_labels_together_when_shuffled(tmp_path: Path) -> None:
    samples = opened(tmp_path, x=X, labels=LABELS)
    batches = list(samples.batches(Split.TRAIN, 16, shuffle_seed=3, with_labels=True))
    assert [len(batch.inputs["x"]) for batch in batches] == [16, 16, 16, 16, 6]
    for batch in batches:
        assert batch.labels is not None
        assert (batch.labels == batch.inputs["x"][:, 0] // 20).all()
    again = next(iter(samples.batches(Split.TRAIN, 16, shuffle_seed=3)))
    assert (again.inputs["x"] == batches[0].inputs["x"]).all()
    assert again.labels is None


def test_foreign_byte_order_reads_the_same(tmp_path: Path) -> None:
    samples = opened(tmp_path, x=X.astype(">f4"))
    batch = next(samples.batches(Split.TRAIN, 4)).inputs["x"]
    assert batch.dtype == np.float32
    assert batch.dtype.isnative


def test_missing_split_is_an_error(tmp_path: Path) -> None:
    samples = opened(tmp_path, **{"test/x": X})
    assert not samples.has(Split.CALIBRATION)
    for missing in (Split.TRAIN, Split.CALIBRATION):
        with pytest.raises(InvalidDataset, match=f"no {missing}"):
            samples.batches(missing, 1)
    with pytest.raises(InvalidDataset, match="no labels"):
        samples.labels(Split.TEST)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unequal": ({"x": X, "labels": LABELS[:5]}, "'labels' 5"),
    "empty": ({"x": X[:0]}, "'x' is empty"),
    "only labels": ({"labels": LABELS}, "no inputs"),
    "nan": ({"x": np.where(X == 7, np.nan, X)}, "'x' contains NaN"),
    "infinite": ({"train/x": X, "test/x": X + np.float32(np.inf)}, "'x' contains NaN"),
    "negative label": ({"x": X, "labels": LABELS - 1}, "negative class"),
    "scalar": ({"x": np.float32(3)}, "single number"),
    "text": ({"x": np.array(["a", "b"])}, "only numbers"),
    "complex": ({"x": X.astype(complex)}, "only numbers"),
    "objects": ({"x": np.array([{}, []], dtype=object)}, "only numbers"),
    "stray": ({"train/x": X, "y": X}, "'y' belongs to no split"),
    "other fields": ({"train/x": X, "test/y": X}, "different fields"),
    "other shape": ({"train/x": X, "test/x": X[:, :1]}, "differs in type or sample shape"),
    "half labelled": ({"train/x": X, "train/labels": LABELS, "test/x": X}, "the test split has none"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays_are_refused_by_name(tmp_path: Path, case: str) -> None:
    arrays, told = BAD[case]
    with pytest.raises(InvalidDataset, match=told):
        opened(tmp_path, **arrays)


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "not a zip": (b"x,y\n1,2\n", "not a whole"),
    "bare npy": (npy(X), "not a whole"),
    "cut off": (zipped({"x.npy": npy(X)})[:-30], "not a whole"),
    "corrupt": (zipped({"x.npy": npy(X)}).replace(X[50:60].tobytes(), bytes(80)), "not a whole"),
    "short member": (zipped({"x.npy": npy(X)[:-9]}), "'x' breaks off"),
    "no array": (zipped({"x.npy": b"hello"}), "'x' is not a NumPy array"),
    "foreign member": (zipped({"readme.txt": b"hello"}), "readme.txt"),
    "no members": (zipped({}), "empty"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_refused(tmp_path: Path, case: str) -> None:
    content, told = BAD_FILES[case]
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(InvalidDataset, match=told):
        open_dataset(tmp_path / "d.npz", tmp_path)
