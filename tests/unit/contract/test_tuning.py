"""What may be varied, and what is refused with which words."""

from typing import Any

import pytest
from pydantic import ValidationError

from whetstone.contract.jobs import JobSpec
from whetstone.contract.learning import Finetune
from whetstone.contract.tuning import Tune, applied, planned, variants

MODEL = "mdl_01m85xjgsteg48drqmjyjr7bzb"
RATE = {"kind": "float", "low": 1e-5, "high": 1e-2, "log": True}
BATCH = {"kind": "int", "low": 16, "high": 64, "step": 16}
WORDS = {"kind": "choice", "values": ["adam", "sgd"]}


def plan(parameters: dict[str, Any], **fields: Any) -> Tune:
    return Tune.model_validate(
        {"passes": [{"kind": "prune"}, {"kind": "finetune"}], "parameters": parameters, **fields}
    )


def test_it_survives_json() -> None:
    spaces = {"1.learning_rate": RATE, "1.batch_size": BATCH, "1.schedule": {"kind": "choice", "values": [
        {"kind": "cosine"}, {"kind": "step", "every": 3}]}}  # fmt: skip
    spec = JobSpec(model_id=MODEL, plan=plan(spaces, objectives=["drop", "size"], sampler="gp", pruner="median"))
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


def test_values_are_put_where_they_belong() -> None:
    tune = plan({"1.early_stopping": {"kind": "choice", "values": [None, {"patience": 2}]}, "1.learning_rate": RATE})
    _, learner = applied(tune.passes, {"1.early_stopping": {"patience": 2}, "1.learning_rate": 0.005})
    assert isinstance(learner, Finetune)
    assert learner.early_stopping is not None
    assert (learner.early_stopping.patience, learner.learning_rate) == (2, 0.005)
    assert learner.batch_size == 64
    assert len(variants(tune)) == 5
    deep = plan({"1.losses.0.weight": {"kind": "float", "low": 0.5, "high": 2.0}}, passes=[
        {"kind": "prune"}, {"kind": "finetune", "losses": [{"kind": "mse"}]}])  # fmt: skip
    assert applied(deep.passes, {"1.losses.0.weight": 1.5})[1].losses[0].weight == 1.5  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("parameters", "fields", "told"),
    [
        ({}, {}, "at least 1"),
        ({"2.learning_rate": RATE}, {}, "'2.learning_rate' is no setting of the recipe: there are 2"),
        ({"1.learning": RATE}, {}, "there is no 'learning'"),
        ({"1.kind": WORDS}, {}, "there is no 'kind'"),
        ({"learning_rate": RATE}, {}, "should match pattern"),
        ({"1.batch_size": {"kind": "int", "low": 0, "high": 8}}, {}, "'1.batch_size' = 0: Input should be greater"),
        ({"1.batch_size": RATE}, {}, "should be a valid integer"),
        ({"1.optimizer": {"kind": "choice", "values": ["adam", "lion"]}}, {}, "'1.optimizer' = \"lion\""),
        ({"1.optimizer": {"kind": "choice", "values": ["sgd", "sgd"]}}, {}, "each value may be given once"),
        ({"1.optimizer": {"kind": "choice", "values": ["sgd"]}}, {}, "at least 2"),
        ({"1.teacher": {"kind": "choice", "values": [MODEL, None]}}, {}, "cannot be varied"),
        ({"1.schedule": WORDS, "1.schedule.kind": WORDS}, {}, "is a part of '1.schedule'"),
        ({"1.learning_rate": RATE | {"high": 1e-6}}, {}, "high (1e-06) must be above low (1e-05)"),
        ({"1.learning_rate": RATE | {"step": 0.001}}, {}, "either step or log"),
        ({"1.learning_rate": RATE | {"low": 0}}, {}, "log needs a low above 0"),
        ({"1.batch_size": BATCH | {"high": 65}}, {}, "whole number of steps"),
        ({"1.learning_rate": RATE}, {"trials": 0}, "greater than or equal to 1"),
        ({"1.learning_rate": RATE}, {"trials": 10**6}, "less than or equal to 500"),
        ({"1.learning_rate": RATE}, {"sampler": "grid"}, "needs a step for '1.learning_rate'"),
        ({"1.batch_size": BATCH, "1.optimizer": WORDS}, {"sampler": "grid", "trials": 7}, "the grid has 8 points"),
        ({"1.learning_rate": RATE, "1.optimizer": WORDS}, {"sampler": "cmaes"}, "and no choices"),
        ({"1.learning_rate": RATE}, {"sampler": "cmaes"}, "two or more numbers"),
        ({"1.learning_rate": RATE, "1.batch_size": BATCH}, {"sampler": "cmaes", "objectives": ["drop", "size"]},
         "a single objective"),
        ({"1.learning_rate": RATE}, {"objectives": ["drop", "drop"]}, "given once"),
        ({"0.sparsity": {"kind": "float", "low": 0.1, "high": 0.9}},
         {"passes": [{"kind": "prune"}], "objectives": ["validation_loss"]}, "validation_loss needs a finetune"),
        ({"0.sparsity": {"kind": "float", "low": 0.1, "high": 0.9}},
         {"passes": [{"kind": "prune"}], "pruner": "median"}, "pruner median needs a finetune"),
    ],
)  # fmt: skip
def test_what_is_refused(parameters: dict[str, Any], fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        plan(parameters, **fields)
    assert told in str(refused.value)


def test_a_grid_has_no_more_trials_than_points() -> None:
    assert planned(plan({"1.batch_size": BATCH, "1.optimizer": WORDS}, sampler="grid", trials=20)) == 8
    assert planned(plan({"1.batch_size": BATCH}, trials=20)) == 20
