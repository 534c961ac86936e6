"""What is shown of a dataset: right, and small and harmless whatever the dataset is."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.engine.data.test_texts import HOW, lines, packed, tokenizer
from whetstone.contract.datasets import Split
from whetstone.contract.previews import LABELS, PICTURES, ROWS, TEXT
from workers.engine.data.preview import label_counts, preview_of, shown
from workers.engine.data.samples import Samples, open_dataset


def saved(tmp_path: Path, **arrays: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Samples:
    np.savez(tmp_path / "d.npz", **arrays)
    return open_dataset(tmp_path / "d.npz", tmp_path)


def test_rows_come_in_the_order_of_the_file_with_split_and_label(tmp_path: Path) -> None:
    labels = np.arange(40) % 3
    preview = preview_of(saved(tmp_path, x=np.arange(80, dtype=np.float32).reshape(40, 2), labels=labels))
    assert [row.row for row in preview.rows] == list(range(ROWS))
    assert preview.rows[3].cells == {"x": "[6., 7.]"}
    assert [row.label for row in preview.rows] == [str(label) for label in labels[:ROWS]]
    assert {row.split for row in preview.rows} <= set(Split)
    assert sum(preview.splits.values()) == 40


def test_labels_are_counted_by_split_and_the_rest_is_only_counted(tmp_path: Path) -> None:
    samples = saved(tmp_path, x=np.zeros((500, 1), np.float32), labels=np.r_[np.zeros(200, int), np.arange(300)])
    first, *others = label_counts(samples)
    assert first.label == 0
    assert first.counts == {Split.TRAIN: 140, Split.CALIBRATION: 20, Split.TEST: 41}
    preview = preview_of(samples)
    assert (len(others), len(preview.labels), preview.more_labels) == (299, LABELS, 200)


@pytest.mark.parametrize("shape", [(3, 200, 100), (200, 100, 3), (1, 200, 100), (200, 100)])
def test_what_can_be_a_picture_is_drawn_small(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.zeros((20, *shape), np.float32)
    values.swapaxes(shape.index(100) + 1, -1)[..., 50:] = 1  # the right half is white
    preview = preview_of(saved(tmp_path, x=values))
    assert len(preview.pictures) == PICTURES
    image = Image.open(io.BytesIO(base64.b64decode(preview.pictures[0].png)))
    assert image.format == "PNG"
    assert image.size == (32, 64)
    pixels = np.asarray(image)
    assert (pixels[:, :14].max(), pixels[:, 18:].min()) == (0, 255)


def test_noise_stays_within_its_limit(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 300, 300, 3), dtype=np.uint8)
    preview = preview_of(saved(tmp_path, x=noise))
    assert len(preview.pictures) == PICTURES
    assert len(preview.model_dump_json()) < 300_000


def test_waveforms_have_an_envelope(tmp_path: Path) -> None:
    wave = np.sin(np.linspace(0, 8 * np.pi, 6000)).astype(np.float32) * np.linspace(0, 1, 6000, dtype=np.float32)
    preview = preview_of(saved(tmp_path, x=np.stack([wave] * 10)[:, None]))
    assert len(preview.envelopes) == ROWS
    envelope = preview.envelopes[0]
    assert max(envelope.high[-30:]) == pytest.approx(0.81, abs=0.02)  # the last wave, whose top is at 13 / 16
    assert max(envelope.high[:10]) < 0.2
    assert all(low <= high for low, high in zip(envelope.low, envelope.high, strict=True))
    assert not preview.pictures


def test_texts_are_shown_as_they_were_written_but_harmless(tmp_path: Path) -> None:
    evil = "\x1b[31m<script>\u202eevil\x00" + "film " * 10_000
    files = {"test.jsonl": lines({"text": "good film"}, {"text": evil}), "tokenizer.json": tokenizer()}
    preview = preview_of(open_dataset(packed(tmp_path, files), tmp_path, HOW))
    assert preview.rows[0].cells == {
        "text": "good film",
        "input_ids": "[2, 4, 6, 3, 0, 0]",
        "attention_mask": "[1, 1, 1, 1, 0, 0]",
    }
    told = preview.rows[1].cells["text"]
    assert told.startswith("\\x1b[31m<script>\\u202eevil\\x00film")
    assert len(told) == TEXT


@pytest.mark.parametrize("text", ["x" * 1000, "\x00" * 1000, "\U000e0001" * 299, "a" * TEXT])
def test_nothing_shown_is_longer_than_allowed(text: str) -> None:
    assert len(shown(text)) <= TEXT
    assert shown(text).isprintable()


def test_a_huge_sample_is_not_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.engine.data.preview.MOST_ELEMENTS", 10)
    assert preview_of(saved(tmp_path, x=np.zeros((20, 11), np.float32))).rows == ()
