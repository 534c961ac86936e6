"""How the command line is told how samples are made of a file, and what it packs of a folder."""

import json
import zipfile
from pathlib import Path

import pytest
import typer

from whetstone.contract.columns import TableLabel
from whetstone.contract.preprocessing import Images, Recordings, SingleArray, Texts
from whetstone.contract.recordings import LogMel
from whetstone.declaring import as_one_file, preprocessing_given


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            "images:input=x,height=8,width=4,mean=0.5,std=0.1/0.2/0.3",
            Images(input="x", height=8, width=4, mean=(0.5,), std=(0.1, 0.2, 0.3)),
        ),
        (
            "texts:columns=a/b,max_length=16,label.column=mood,label.kind=class,mask=m",
            Texts(columns=("a", "b"), max_length=16, label=TableLabel(column="mood"), mask="m"),
        ),
        (
            "recordings:input=w,sample_rate=16000,length=16000,features.kind=log_mel,features.mels=40",
            Recordings(input="w", sample_rate=16000, length=16000, features=LogMel(mels=40)),
        ),
        ("array:input=x.y", SingleArray(input="x.y")),
    ],
)
def test_in_short(given: str, expected: object) -> None:
    assert preprocessing_given(given) == expected


def test_in_a_file(tmp_path: Path) -> None:
    expected = Images(input="x", height=8, width=4)
    (tmp_path / "how.json").write_text(json.dumps({"kind": "images", "input": "x", "height": 8, "width": 4}))
    (tmp_path / "how.toml").write_text('kind = "images"\ninput = "x"\nheight = 8\nwidth = 4\n')
    assert preprocessing_given(str(tmp_path / "how.json")) == expected
    assert preprocessing_given(str(tmp_path / "how.toml")) == expected
    assert preprocessing_given(None) is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("how.json", "there is no file how.json"),
        ("pictures:input=x", "pictures"),
        ("images:input=x,height=8", "width: Field required"),
        ("images:input=x,height=eight,width=8", "height"),
        ("recordings:features=raw,features.mels=3", "'features' has a value of its own"),
        ("images", "there is no file images"),
    ],
)
def test_what_cannot_be_read_is_told(given: str, told: str) -> None:
    with pytest.raises(typer.BadParameter, match=told):
        preprocessing_given(given)


@pytest.mark.parametrize("content", ["{", "kind ="])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: str) -> None:
    for name in ("how.json", "how.toml"):
        (tmp_path / name).write_text(content)
        with pytest.raises(typer.BadParameter, match=name):
            preprocessing_given(str(tmp_path / name))


def test_a_folder_is_packed_and_a_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "d" / "cat").mkdir(parents=True)
    (tmp_path / "d" / "cat" / "1.txt").write_text("one")
    (tmp_path / "d" / ".hidden").write_text("no")
    with as_one_file(tmp_path / "d") as packed:
        assert packed.name == "d.zip"
        with zipfile.ZipFile(packed) as archive:
            assert archive.namelist() == ["cat/1.txt"]
    assert not packed.exists()
    with as_one_file(tmp_path / "d" / "cat" / "1.txt") as file:
        assert file == tmp_path / "d" / "cat" / "1.txt"
    with pytest.raises(typer.BadParameter, match="no file or folder"), as_one_file(tmp_path / "none"):
        pass
