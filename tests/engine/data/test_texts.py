"""JSON lines with their tokenizer: what each text becomes, and every way a file can be wrong."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from whetstone.contract.columns import LabelKind, TableLabel
from whetstone.contract.datasets import Split
from whetstone.contract.texts import Padding, Side, Texts, TokenType
from workers.engine.data import texts
from workers.engine.data.errors import InvalidDataset
from workers.engine.data.samples import Samples, open_dataset

WORDS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "good": 4, "bad": 5, "film": 6, "very": 7}
HOW = Texts(columns=("text",), max_length=6, pad_token="[PAD]", mask="attention_mask")


def tokenizer(*, unknown: str | None = "[UNK]") -> bytes:
    made = Tokenizer(WordLevel(WORDS, unk_token=unknown) if unknown else WordLevel(WORDS))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made.to_str().encode()


def lines(*rows: object) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def packed(tmp_path: Path, files: dict[str, bytes]) -> Path:
    path = tmp_path / "d.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def opened(tmp_path: Path, *rows: object, how: Texts = HOW) -> Samples:
    return open_dataset(packed(tmp_path, {"test.jsonl": lines(*rows), "tokenizer.json": tokenizer()}), tmp_path, how)


def inputs(samples: Samples, split: Split = Split.TEST) -> dict[str, Any]:
    (batch,) = samples.batches(split, 10_000)
    return batch.inputs


def test_texts_become_ids_and_masks(tmp_path: Path) -> None:
    samples = opened(tmp_path, {"text": "very good film"}, {"text": "strange"})
    facts = samples.facts()
    assert (facts.format, facts.labels, facts.splits) == ("texts", None, {Split.TEST: 2})
    assert [(field.name, field.dtype, field.shape) for field in facts.fields] == [
        ("input_ids", "int64", (6,)),
        ("attention_mask", "int64", (6,)),
    ]
    found = inputs(samples)
    assert found["input_ids"].tolist() == [[2, 7, 4, 6, 3, 0], [2, 1, 3, 0, 0, 0]]
    assert found["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]]


def test_what_is_too_long_is_cut_and_keeps_its_last_special_token(tmp_path: Path) -> None:
    found = inputs(opened(tmp_path, {"text": "very " * 50}))
    assert found["input_ids"].tolist() == [[2, 7, 7, 7, 7, 3]]


def test_pairs_have_types_and_the_longer_one_is_cut(tmp_path: Path) -> None:
    how = HOW.model_copy(update={"columns": ("a", "b"), "types": "token_type_ids", "dtype": TokenType.INT32})
    found = inputs(opened(tmp_path, {"a": "very very very very", "b": "bad"}, how=how))
    assert found["input_ids"].tolist() == [[2, 7, 7, 3, 5, 3]]
    assert found["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1]]
    assert found["token_type_ids"].dtype == np.int32


def test_padding_to_the_longest_on_the_left(tmp_path: Path) -> None:
    how = HOW.model_copy(update={"padding": Padding.LONGEST, "pad_side": Side.LEFT, "mask": None})
    found = inputs(opened(tmp_path, {"text": "bad film"}, {"text": "bad"}, how=how))
    assert {name: array.tolist() for name, array in found.items()} == {"input_ids": [[2, 5, 6, 3], [0, 2, 5, 3]]}


def test_the_tokenizers_own_padding_counts_and_special_tokens_can_be_left_out(tmp_path: Path) -> None:
    told = json.loads(tokenizer())
    told["padding"] = {"strategy": {"Fixed": 99}, "direction": "Right", "pad_to_multiple_of": None}
    told["padding"] |= {"pad_id": 1, "pad_type_id": 0, "pad_token": "[UNK]"}
    files = {"x.jsonl": lines({"text": "bad"}), "tokenizer.json": json.dumps(told).encode()}
    how = Texts(columns=("text",), max_length=3, special_tokens=False)
    assert inputs(open_dataset(packed(tmp_path, files), tmp_path, how))["input_ids"].tolist() == [[5, 1, 1]]


def test_splits_by_file_and_labels_by_name_over_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "LINES", 7)
    how = HOW.model_copy(update={"label": TableLabel(column="mood")})
    rows = [{"text": mood, "mood": mood} for mood in ["good", "bad"] * 50]
    files = {"d/train.jsonl": lines(*rows), "d/test.jsonl": lines(*rows[:30]), "d/tokenizer.json": tokenizer()}
    samples = open_dataset(packed(tmp_path, files), tmp_path, how)
    assert (samples.facts().splits, samples.facts().made_splits) == ({Split.TRAIN: 100, Split.TEST: 30}, False)
    assert samples.facts().class_names == ("bad", "good")
    for split in (Split.TRAIN, Split.TEST):
        assert (inputs(samples, split)["input_ids"][:, 1] == 5 - samples.labels(split)).all()


def test_made_splits_are_the_same_each_time_and_have_every_class(tmp_path: Path) -> None:
    how = HOW.model_copy(update={"label": TableLabel(column="y")})
    files = {
        "all.jsonl": lines(*({"text": "film", "y": n % 2 == 0} for n in range(100))),
        "tokenizer.json": tokenizer(),
    }
    first, second = (open_dataset(packed(tmp_path, files), tmp_path, how) for _ in range(2))
    assert first.facts().class_names == ("false", "true")
    assert first.facts().splits == {Split.TRAIN: 70, Split.CALIBRATION: 10, Split.TEST: 20}
    assert first.labels(Split.TEST).tolist() == second.labels(Split.TEST).tolist()
    assert np.bincount(first.labels(Split.TEST)).tolist() == [10, 10]


def test_a_column_says_the_split_and_values_can_be_labels(tmp_path: Path) -> None:
    how = HOW.model_copy(update={"split": "part", "label": TableLabel(column="y", kind=LabelKind.VALUE)})
    rows = [{"text": "bad", "part": part, "y": y} for part, y in (("train", 1), ("test", 0.5), ("train", 2))]
    files = {"all.jsonl": lines(*rows), "tokenizer.json": tokenizer()}
    samples = open_dataset(packed(tmp_path, files), tmp_path, how)
    assert samples.labels(Split.TRAIN).tolist() == [1, 2]
    assert samples.labels(Split.TEST).tolist() == [0.5]


LABELLED = HOW.model_copy(update={"label": TableLabel(column="y")})
VALUED = HOW.model_copy(update={"label": TableLabel(column="y", kind=LabelKind.VALUE)})
WRONG_LINES: dict[str, tuple[bytes, Texts, str]] = {
    "no JSON": (b'{"text": "bad"}\n{"text"', HOW, r"test.jsonl:2: this is no JSON"),
    "no object": (b'["bad"]', HOW, r"test.jsonl:1: this is no JSON object"),
    "another encoding": (b'{"text": "\xff"}', HOW, r"test.jsonl:1: this is no JSON in UTF-8"),
    "nested without end": (b'{"text":' * 100_000, HOW, r"test.jsonl:1"),
    "a number of endless digits": (b'{"text": ' + b"1" * 10_000 + b"}", HOW, r"test.jsonl:1"),
    "a missing field": (b'\n{"other": 1}', HOW, r"test.jsonl:2: field 'text' is missing"),
    "an empty field": (b'{"text": null}', HOW, r"test.jsonl:1: field 'text' is missing"),
    "another kind": (b'{"text": 7}', HOW, r"test.jsonl:1: field 'text' is no text"),
    "no label": (b'{"text": "bad"}', LABELLED, r"field 'y' is missing"),
    "a label that is a fraction": (b'{"text": "bad", "y": 0.5}', LABELLED, r"field 'y' is neither"),
    "a label without a name": (b'{"text": "bad", "y": ""}', LABELLED, r"field 'y' is neither"),
    "half a character for a label": (b'{"text": "bad", "y": "\\ud800"}', LABELLED, r"field 'y' is neither"),
    "half a character": (b'{"text": "\\ud800"}', HOW, r"test.jsonl:1: the tokenizer fails"),
    "a class of many words": (b'{"text": "bad", "y": "' + b"x" * 400 + b'"}', LABELLED, r"more than 300 characters"),
    "a value that is none": (b'{"text": "bad", "y": "much"}', VALUED, r"field 'y' is no number"),
    "a value without limits": (b'{"text": "bad", "y": NaN}', VALUED, r"NaN is no number of JSON"),
    "a value too large": (b'{"text": "bad", "y": 1e999}', VALUED, r"NaN or infinite"),
    "nothing": (b"\n\n", HOW, r"no rows"),
    "no tokens": (b'{"text": ""}', HOW.model_copy(update={"special_tokens": False}), r"test.jsonl:1: .*no tokens"),
}


@pytest.mark.parametrize("name", WRONG_LINES)
def test_what_is_wrong_is_named_by_file_line_and_field(tmp_path: Path, name: str) -> None:
    content, how, told = WRONG_LINES[name]
    files = {"test.jsonl": content, "tokenizer.json": tokenizer()}
    with pytest.raises(InvalidDataset, match=told):
        open_dataset(packed(tmp_path, files), tmp_path, how)


def test_a_line_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MAX_LINE", 100)
    with pytest.raises(InvalidDataset, match=r"test.jsonl:2: the line is longer"):
        opened(tmp_path, {"text": "bad"}, {"text": "x" * 200})


GOOD = {"test.jsonl": lines({"text": "bad"}), "tokenizer.json": tokenizer()}
WRONG_FILES: dict[str, tuple[dict[str, bytes], Texts, str]] = {
    "no tokenizer": ({"tokenizer.json": b""}, HOW, "cannot be used"),
    "not JSON": ({"tokenizer.json": b"{"}, HOW, "cannot be used"),
    "another file": ({"tokenizer.json": b'{"a": 1}'}, HOW, "cannot be used"),
    "a list": ({"tokenizer.json": b"[]"}, HOW, "cannot be used"),
    "two tokenizers": ({"b/tokenizer.json": tokenizer()}, HOW, "holds 2 files named tokenizer.json"),
    "an unknown word": ({"test.jsonl": lines({"text": "bad"}, {"text": "odd"}), "tokenizer.json": tokenizer(unknown=None)}, HOW, r"test.jsonl:2: the tokenizer fails"),  # noqa: E501
    "no padding": ({}, Texts(columns=("text",), max_length=6), "does not say what to pad with"),
    "another padding": ({}, Texts(columns=("text",), max_length=6, pad_token="<pad>"), "no token '<pad>'"),
    "no room": ({}, Texts(columns=("text",), max_length=2, pad_token="[PAD]"), "no room beside the special tokens"),
    "half of the files": ({"more.jsonl": lines({"text": "bad"})}, HOW, "'more.jsonl' is named after no split"),
    "told twice": ({}, HOW.model_copy(update={"split": "part"}), "is declared to say it"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_file_that_is_wrong(tmp_path: Path, name: str) -> None:
    changed, how, told = WRONG_FILES[name]
    with pytest.raises(InvalidDataset, match=told):
        open_dataset(packed(tmp_path, GOOD | changed), tmp_path, how)


def test_no_archive_and_no_lines(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"no \.jsonl file"):
        open_dataset(packed(tmp_path, {"tokenizer.json": tokenizer()}), tmp_path, HOW)
    (tmp_path / "d").write_bytes(lines({"text": "bad"}))
    with pytest.raises(InvalidDataset, match=r"not a whole \.zip or \.tar"):
        open_dataset(tmp_path / "d", tmp_path, HOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"columns": []},
        {"columns": ["a", "b", "c"]},
        {"max_length": 0},
        {"ids": "x", "mask": "x"},
        {"types": "labels"},
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Texts.model_validate({"columns": ["text"], "max_length": 4} | wrong)
