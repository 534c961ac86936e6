"""Which preset an order gets, and what is refused before anything is queued."""

from typing import Any

import pytest

from app.jobs.presets import PresetMismatch, preset_for
from tests.service import facts
from whetstone.contract.augmentation import Flip, Gain, Noise, Shift, SpecAugment, TabularNoise
from whetstone.contract.jobs import JobSpec
from whetstone.contract.metrics import Metric
from whetstone.contract.models import ModelFacts, TensorFacts
from whetstone.contract.presets import GENERAL, PRESETS, CustomPreset, Domain, Family, Preset
from whetstone.contract.quantization import Calibrator

MODEL_ID = "mdl_01m85xjgsteg48drqmjyjr7bzb"
IMAGE = ("x", "float32", ("N", 3, 32, 32))
TOKENS = ("input_ids", "int64", ("N", "L"))
ROW = ("x", "float32", ("N", 4))
IDS = ("ids", "int64", ("N", 3))
LOGITS = ("y", "float32", ("N", 5))
NUMBER = ("y", "float32", ("N", 1))
SEQUENCE = ("y", "float32", ("N", "L", 9))
Told = tuple[str, str, tuple[int | str, ...]]


def model(*inputs: Told, output: Told = LOGITS) -> ModelFacts:
    tensors = [TensorFacts(name=name, dtype=dtype, shape=shape) for name, dtype, shape in (*inputs, output)]
    return facts.MODEL.model_copy(update={"inputs": tuple(tensors[:-1]), "outputs": tuple(tensors[-1:])})


def found(of: ModelFacts, preset: Domain | CustomPreset | None = None, data: Any = None, **budget: Any) -> Preset:
    return preset_for(JobSpec.model_validate({"model_id": MODEL_ID, "preset": preset, "budget": budget}), of, data)


@pytest.mark.parametrize(
    ("inputs", "domain"),
    [
        ([IMAGE], Domain.IMAGE),
        ([("x", "float32", ("N", 32, 32, 3))], Domain.IMAGE),
        ([TOKENS, ("attention_mask", "int64", ("N", "L"))], Domain.TEXT),
        ([("x", "float32", ("N", 1, 64, 64))], Domain.GENERAL),
        ([("x", "float32", ("N", 16000))], Domain.GENERAL),
        ([ROW, IDS], Domain.GENERAL),
    ],
)
def test_only_what_is_certain_is_guessed(inputs: list[Told], domain: Domain) -> None:
    assert found(model(*inputs)).domain is domain
    assert found(model(*inputs), Domain.GENERAL) == GENERAL


@pytest.mark.parametrize(
    ("domain", "inputs"),
    [
        (Domain.IMAGE, [TOKENS]),
        (Domain.IMAGE, [ROW]),
        (Domain.TEXT, [IMAGE]),
        (Domain.AUDIO, [TOKENS]),
        (Domain.TABULAR, [IMAGE]),
    ],
)
def test_a_domain_that_the_model_is_not_of_is_refused(domain: Domain, inputs: list[Told]) -> None:
    with pytest.raises(PresetMismatch, match=f"preset `{domain}` is for models with"):
        found(model(*inputs), domain)


def test_clicks_are_judged_by_the_order_of_their_scores() -> None:
    clicks = model(ROW, IDS, output=NUMBER)
    assert found(clicks, Domain.TABULAR, facts.DATASET).metric is Metric.AUC
    assert found(clicks, Domain.TABULAR, facts.UNLABELLED).metric is None
    assert found(clicks, Domain.TABULAR, facts.DATASET, min_accuracy=0.9).metric is None
    assert found(model(ROW), Domain.TABULAR, facts.DATASET).metric is None  # five classes have no such order


def test_every_field_can_be_told_otherwise() -> None:
    told = CustomPreset(
        domain=Domain.TABULAR, metric=Metric.LOG_LOSS, calibrator=Calibrator.MSE, augment=(), first=(), without=()
    )
    assert found(model(ROW, output=NUMBER), told, facts.DATASET) == Preset(
        domain=Domain.TABULAR, metric=Metric.LOG_LOSS, calibrator=Calibrator.MSE
    )
    one = found(model(IMAGE), CustomPreset(without=(Family.DYNAMIC,)))
    assert one == PRESETS[Domain.IMAGE].model_copy(update={"without": (Family.DYNAMIC,)})


@pytest.mark.parametrize(
    ("metric", "of", "data", "budget", "why"),
    [
        (Metric.AUC, model(ROW, output=NUMBER), None, {}, "needs a dataset with labels"),
        (Metric.AUC, model(ROW), facts.DATASET, {}, "one number for each sample"),
        (Metric.MSE, model(ROW), facts.DATASET, {}, "floating point"),
        (Metric.ACCURACY, model(ROW), facts.DATASET.model_copy(update={"classes": None}), {}, "class numbers"),
        (Metric.AGREEMENT, model(ROW, output=SEQUENCE), None, {}, r"\[N, classes\]"),
        (Metric.POSITIONS, model(ROW), None, {}, r"\[N, T, classes\]"),
        (Metric.COSINE, model(ROW), facts.DATASET, {"min_accuracy": 0.9}, "min_accuracy"),
        (Metric.COSINE, model(ROW), facts.DATASET, {"objective": "accuracy"}, "objective"),
    ],
)
def test_a_metric_that_cannot_be_taken_is_refused(
    metric: Metric, of: ModelFacts, data: Any, budget: dict[str, Any], why: str
) -> None:
    with pytest.raises(PresetMismatch, match=why):
        found(of, CustomPreset(metric=metric), data, **budget)


def test_metrics_that_can_be_taken() -> None:
    assert found(model(TOKENS, output=SEQUENCE), CustomPreset(metric=Metric.POSITIONS)).metric is Metric.POSITIONS
    assert found(model(TOKENS), CustomPreset(metric=Metric.COSINE)).metric is Metric.COSINE


def test_augmentations_that_fit_are_taken_and_others_refused() -> None:
    assert found(model(("x", "float32", ("N", 16000))), Domain.AUDIO).augment == (Gain(), Noise(), Shift())
    assert found(model(("x", "float32", ("N", 1, 40, 98))), Domain.AUDIO).augment == (SpecAugment(),)
    assert found(model(ROW, IDS), Domain.TABULAR).augment == (TabularNoise(deviation=0.02, input="x"),)
    with pytest.raises(PresetMismatch, match="`flip`"):
        found(model(ROW), CustomPreset(augment=(Flip(),)))
    with pytest.raises(PresetMismatch, match="`flip`"):
        found(model(IMAGE), CustomPreset(augment=(Flip(input="other"),)))
