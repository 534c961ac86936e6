"""Tables: columns become inputs, a column becomes the labels, and every way a file can be wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from pydantic import ValidationError

from whetstone.contract.columns import LabelKind, TableLabel
from whetstone.contract.datasets import Split
from whetstone.contract.preprocessing import NumberType, Table, TableInput
from workers.engine.data import tables
from workers.engine.data.errors import InvalidDataset
from workers.engine.data.samples import Samples, open_dataset

ROWS = 100
AGE = np.arange(ROWS) / 2
CODE = np.arange(ROWS) * 3
NAMES = ["no", "yes", "maybe", "no"] * (ROWS // 4)
HOW = Table(
    inputs=(
        TableInput(name="dense", columns=("size", "age")),
        TableInput(name="code", columns=("code",), dtype=NumberType.INT64, flat=True),
    ),
    label=TableLabel(column="bought"),
)


def columns() -> dict[str, Any]:
    return {"age": AGE, "note": ["x, y"] * ROWS, "code": CODE, "bought": NAMES, "size": -AGE}


def as_csv(tmp_path: Path, content: dict[str, Any], delimiter: str = ",") -> Path:
    def quoted(value: object) -> str:
        return f'"{value}"' if delimiter in str(value) else str(value)

    rows = [content.keys(), *zip(*content.values(), strict=True)]
    path = tmp_path / "d.csv"
    path.write_text("\n".join(delimiter.join(map(quoted, row)) for row in rows))
    return path


def as_parquet(tmp_path: Path, content: dict[str, Any]) -> Path:
    path = tmp_path / "d.parquet"
    parquet.write_table(pa.table(content), path, row_group_size=30)
    return path


def everything(samples: Samples) -> dict[str, np.ndarray[Any, Any]]:
    batches = [batch for split in Split for batch in samples.batches(split, 7, with_labels=True)]
    found = {name: np.concatenate([batch.inputs[name] for batch in batches]) for name in batches[0].inputs}
    return found | {"labels": np.concatenate([batch.required_labels for batch in batches])}


def as_arrow(tmp_path: Path, content: dict[str, Any]) -> Path:
    path = tmp_path / "d.arrow"
    table = pa.table(content)
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table, max_chunksize=30)
    return path


@pytest.fixture(params=[as_csv, as_parquet, as_arrow])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    made: Path = request.param(tmp_path, columns())
    return made


def test_columns_become_inputs_and_names_become_classes(path: Path, tmp_path: Path) -> None:
    samples = open_dataset(path, tmp_path, HOW)
    facts = samples.facts()
    assert facts.format == path.suffix[1:]
    assert [(field.name, field.dtype, field.shape) for field in facts.fields] == [
        ("dense", "float32", (2,)),
        ("code", "int64", ()),
    ]
    assert (facts.classes, facts.class_names) == (3, ("maybe", "no", "yes"))
    assert facts.splits == {Split.TRAIN: 70, Split.CALIBRATION: 10, Split.TEST: 20}
    found = everything(samples)
    order = np.argsort(found["code"])
    assert (found["dense"][order] == np.stack([-AGE, AGE], axis=1)).all()
    assert [("maybe", "no", "yes")[label] for label in found["labels"][order]] == NAMES


def test_batches_across_blocks_and_row_groups_keep_their_order(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROWS", 7)
    monkeypatch.setattr(tables, "BLOCK", 200)
    found = everything(open_dataset(path, tmp_path, HOW))
    assert (np.sort(found["code"]) == CODE).all()
    assert (found["dense"][:, 1] * 6 == found["code"]).all()


def test_whole_numbers_are_classes_as_they_are(tmp_path: Path) -> None:
    content = columns() | {"bought": [10, 2, 0, 2] * (ROWS // 4)}
    for path in (as_csv(tmp_path, content), as_parquet(tmp_path, content)):
        found = everything(open_dataset(path, tmp_path, HOW))
        assert np.bincount(found["labels"]).tolist() == [25, 0, 50, 0, 0, 0, 0, 0, 0, 0, 25]


def test_values_to_predict(tmp_path: Path) -> None:
    how = Table(inputs=HOW.inputs, label=TableLabel(column="age", kind=LabelKind.VALUE))
    for path in (as_csv(tmp_path, columns()), as_parquet(tmp_path, columns())):
        samples = open_dataset(path, tmp_path, how)
        assert samples.facts().classes is None
        found = everything(samples)
        assert found["labels"].dtype == np.float32
        assert (found["labels"] == found["dense"][:, 1]).all()


def test_a_column_says_the_split(tmp_path: Path) -> None:
    content = columns() | {"part": ["test", "train", "train", "train"] * (ROWS // 4)}
    how = HOW.model_copy(update={"split": "part"})
    for path in (as_csv(tmp_path, content), as_parquet(tmp_path, content)):
        samples = open_dataset(path, tmp_path, how)
        assert (samples.facts().splits, samples.facts().made_splits) == ({Split.TRAIN: 75, Split.TEST: 25}, False)
        (batch,) = samples.batches(Split.TEST, ROWS)
        assert batch.inputs["code"].tolist() == CODE[::4].tolist()


def test_another_delimiter_and_no_labels(tmp_path: Path) -> None:
    how = Table(inputs=HOW.inputs, delimiter=";")
    assert open_dataset(as_csv(tmp_path, columns(), ";"), tmp_path, how).facts().labels is None


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a missing column": ({"age": None}, "'?age'?"),
    "an empty cell": ({"age": [None, *AGE[1:]]}, "empty cells|None"),
    "text for numbers": ({"age": ["old", *map(str, AGE[1:])]}, "old|string"),
    "no number": ({"age": [float("inf"), *AGE[1:]]}, "infinite"),
    "a fraction for a whole number": ({"code": [0.5, *CODE[1:]]}, r"0\.5|truncated"),
}


@pytest.mark.parametrize("write", [as_csv, as_parquet, as_arrow])
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, write: Any, name: str) -> None:
    changed, told = WRONG[name]
    content = {key: value for key, value in (columns() | changed).items() if value is not None}
    with pytest.raises(InvalidDataset, match=told):
        open_dataset(write(tmp_path, content), tmp_path, HOW)


def test_a_number_that_its_type_cannot_hold(tmp_path: Path) -> None:
    how = Table(inputs=(TableInput(name="x", columns=("code",), dtype=NumberType.INT32),))
    with pytest.raises(InvalidDataset, match="int32"):
        open_dataset(as_csv(tmp_path, columns() | {"code": CODE * 2**30}), tmp_path, how)


def test_an_unknown_split(tmp_path: Path) -> None:
    how = HOW.model_copy(update={"split": "bought"})
    with pytest.raises(InvalidDataset, match="splits are train, calibration, test"):
        open_dataset(as_csv(tmp_path, columns()), tmp_path, how)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"age\n",
        b"PAR1" + b"\0" * 100,
        b"ARROW1" + b"\0" * 100,
        b"size,age,code,bought\n",
        b"\xff\xfe\0a,b\n1,2\n",
        b"a,b\n1,2,3\n",
    ],
)
def test_a_file_that_is_no_table(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d").write_bytes(content)
    with pytest.raises(InvalidDataset):
        open_dataset(tmp_path / "d", tmp_path, HOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputs": []},
        {"inputs": [{"name": "x", "columns": ["a", "b"], "flat": True}]},
        {"inputs": [{"name": "labels", "columns": ["a"]}]},
        {"inputs": [{"name": "x", "columns": ["a"]}] * 2},
        {"inputs": [{"name": "x", "columns": ["a"]}], "delimiter": "ab"},
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Table.model_validate(wrong)
