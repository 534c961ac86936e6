"""What both sides decide and how sure they are, from outputs that are written down here, and as people see samples."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import special

from whetstone.contract.metrics import Metric
from whetstone.contract.models import TensorFacts
from workers.engine.data.samples import open_dataset
from workers.engine.measure.decision import Decision
from workers.engine.measure.feed import Feed
from workers.engine.measure.opinions import Debate, Opinion, Opinions, reliability
from workers.engine.measure.reading import Reading
from workers.engine.measure.showing import PIXELS, VALUES, WORST, is_image, pictures_of, worst_samples
from workers.engine.targets.runtime import Array

LABELS = np.array([0, 1, 2, 2])
BEFORE = np.array([[3, 0, 0], [0, 3, 0], [0, 0, 3], [2, 0, 0]], np.float32)
AFTER = np.array([[0, 1, 0], [0, 9, 0], [2, 0, 0], [0, 2, 0]], np.float32)


def feed(folder: Path, x: Array, labels: Array | None = LABELS) -> Feed:
    arrays = {"test/x": x} if labels is None else {"test/x": x, "test/labels": labels}
    np.savez(folder / "data.npz", **arrays)
    inputs = (TensorFacts(name="x", dtype=x.dtype.name, shape=("N", *x.shape[1:])),)
    return Feed(inputs, 1, {}, open_dataset(folder / "data.npz", folder))


def debate(feed: Feed, before: Array, after: Array, reading: Reading) -> Debate | None:
    opinions = Opinions(feed, reading)
    for place, batch in enumerate(feed.batches()):
        opinions.add({"y": before[place : place + 1]}, {"y": after[place : place + 1]}, batch)
    return opinions.debate()


def numbers(count: int = 4) -> Array:
    return np.arange(count * 3, dtype=np.float32).reshape(count, 3)


def test_the_worst_are_those_that_lost_most_confidence_in_the_label(tmp_path: Path) -> None:
    found = debate(feed(tmp_path, numbers()), BEFORE, AFTER, Reading({"y": 0.0}))
    assert found is not None
    lost = [
        special.softmax(BEFORE[place])[LABELS[place]] - special.softmax(AFTER[place])[LABELS[place]]
        for place in (0, 2, 3)
    ]
    assert found.worst(9).tolist() == [[0, 2, 3][place] for place in np.argsort(lost)[::-1]]
    assert found.worst(1).tolist() == found.worst(9).tolist()[:1]
    assert found.original.confidence[0] == pytest.approx(special.softmax(BEFORE[0])[0])


def test_a_sample_that_was_won_is_not_among_the_worst(tmp_path: Path) -> None:
    found = debate(feed(tmp_path, numbers()), AFTER, BEFORE, Reading({"y": 0.0}))
    assert found is not None
    assert found.worst(9).tolist() == [3]  # from one wrong class to another


def test_without_labels_it_is_the_confidence_in_what_the_original_said(tmp_path: Path) -> None:
    found = debate(feed(tmp_path, numbers(), None), BEFORE, AFTER, Reading({"y": 0.0}))
    assert found is not None
    assert found.labels is None
    assert found.calibration() is None
    assert sorted(found.worst(9).tolist()) == [0, 2, 3]
    assert found.result.expected[3] == pytest.approx(special.softmax(AFTER[3])[0])


def test_probabilities_are_taken_as_they_are(tmp_path: Path) -> None:
    shares = np.array([[0.7, 0.2, 0.1]] * 4, np.float32)
    found = debate(feed(tmp_path, numbers()), shares, BEFORE, Reading({"y": 0.0}))
    assert found is not None
    assert found.original.confidence == pytest.approx([0.7] * 4)
    assert found.result.confidence == pytest.approx([1.0, 1.0, 1.0, 1.0])  # clipped, not read in another way


@pytest.mark.parametrize(("threshold", "likely"), [(0.0, special.expit(0.4)), (0.5, 0.4)])
def test_one_number_gives_two_probabilities(tmp_path: Path, threshold: float, likely: float) -> None:
    one = np.full((4, 1), 0.4, np.float32)
    found = debate(feed(tmp_path, numbers(), np.array([0, 1, 0, 1])), one, one, Reading({"y": threshold}))
    assert found is not None
    assert found.original.expected == pytest.approx([1 - likely, likely, 1 - likely, likely])


@pytest.mark.parametrize(
    ("labels", "reading"),
    [
        (LABELS.astype(np.float32), Reading({"y": 0.0})),
        (LABELS, Reading({"y": 0.0}, Metric.COSINE)),
        (None, Reading({"y": 0.0}, embeds=True)),
    ],
)
def test_what_is_no_decision_has_no_opinions(tmp_path: Path, labels: Array | None, reading: Reading) -> None:
    assert debate(feed(tmp_path, numbers(), labels), BEFORE, AFTER, reading) is None


def test_the_calibration_error_of_a_known_case() -> None:
    """Two bins: 90 % sure and 3 of 4 right, 50 % sure and 1 of 1 right; (4 · 0.15 + 1 · 0.5) / 5."""
    found = reliability(np.array([0.9, 0.9, 0.9, 0.9, 0.5]), np.array([True, True, True, False, True]))
    assert found.error == pytest.approx(0.22)
    assert [(each.samples, round(each.confidence, 6), each.accuracy) for each in found.bins] == [
        (1, 0.5, 1.0),
        (4, 0.9, 0.75),
    ]


def test_who_is_as_right_as_sure_has_no_calibration_error() -> None:
    generator = np.random.default_rng(0)
    sure = generator.uniform(0.5, 1, 200_000)
    right = generator.uniform(size=sure.size) < sure
    assert reliability(sure, right).error < 0.005
    assert reliability(np.ones(10), np.zeros(10, bool)).error == 1


def flipped(count: int) -> Debate:
    sure, zeros, ones = np.full(count, 0.8), np.zeros(count, np.int64), np.ones(count, np.int64)
    return Debate(zeros, Opinion(zeros, sure, sure), Opinion(ones, sure, np.linspace(0, 0.2, count)), Decision("y"))


def test_images_are_shown_as_pictures(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((30, 3, 100, 80)).astype(np.float32)
    x[0], x[1] = -9, 9
    found = worst_samples(flipped(30), feed(tmp_path, x, np.zeros(30, np.int64)))
    assert len(found) == WORST
    assert [sample.place for sample in found] == list(range(WORST))
    assert (found[0].label, found[0].original, found[0].result, found[0].values) == (0, 0, 1, {})
    dark, light = (Image.open(io.BytesIO(base64.b64decode(s.picture.png))) for s in found[:2] if s.picture)
    assert (dark.size, dark.mode) == ((51, PIXELS), "RGB")
    assert np.asarray(dark).max() == 0
    assert np.asarray(light).min() == 255
    assert sum(len(sample.picture.png) for sample in found if sample.picture) < 200_000


def test_what_is_no_image_is_shown_as_values(tmp_path: Path) -> None:
    ids = np.arange(30 * 40).reshape(30, 40)
    (first, *_) = worst_samples(flipped(30), feed(tmp_path, ids, np.zeros(30, np.int64)))
    assert first.picture is None
    assert first.values == {"x": ", ".join(map(str, range(VALUES))) + ", … (40 in all)"}


def test_random_inputs_are_not_shown() -> None:
    inputs = (TensorFacts(name="x", dtype="float32", shape=("N", 3)),)
    assert worst_samples(flipped(30), Feed(inputs, 1, {}, None)) == ()


@pytest.mark.parametrize(
    ("shape", "dtype", "shown"),
    [
        ((2, 3, 32, 32), np.float32, True),
        ((2, 32, 32, 1), np.uint8, True),
        ((2, 3, 32, 32), np.int64, False),
        ((2, 4, 32, 32), np.float32, False),
        ((2, 3, 2, 2), np.float32, False),
        ((2, 3), np.float32, False),
    ],
)
def test_what_looks_like_an_image(shape: tuple[int, ...], dtype: type, *, shown: bool) -> None:
    assert is_image(np.zeros(shape, dtype)) is shown


@pytest.mark.parametrize("layout", [(2, 1, 9, 9), (2, 9, 9, 1)])
def test_bytes_and_shares_keep_their_brightness(layout: tuple[int, ...]) -> None:
    for stacked in (np.full(layout, 64, np.uint8), np.full(layout, 0.25, np.float32)):
        (picture, _) = pictures_of(stacked)
        image = Image.open(io.BytesIO(base64.b64decode(picture.png)))
        assert image.mode == "L"
        assert abs(int(np.asarray(image)[0, 0]) - 64) <= 1
