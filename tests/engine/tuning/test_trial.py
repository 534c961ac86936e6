"""The `trial` step on the digits: what it chooses, sees, gives up and refuses."""

from pathlib import Path
from typing import Any

import pytest

from tests.engine.models import saved
from whetstone.contract.jobs import Budget, Measurement
from whetstone.contract.steps import InputRole, TryValues, ValuesTried
from whetstone.contract.targets import Target
from whetstone.contract.tuning import Pruner, TrialRead, TrialState, Tune
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.request import Chosen, Message, Progress, Request
from workers.engine.run import run
from workers.engine.training.trouble import TrainingDiverged

RATE = {"0.learning_rate": {"kind": "float", "low": 1e-6, "high": 10, "log": True}}
SPARSITY = {"0.sparsity": {"kind": "choice", "values": [0.3, 0.95]}}


def task(passes: list[dict[str, Any]], space: dict[str, Any], **fields: Any) -> TryValues:
    how = {name: fields.pop(name) for name in ("parameters", "trials", "number") if name in fields}
    tune = Tune.model_validate({"passes": passes, "parameters": space, **fields})
    told = {"number": 0, "target": Target.ONNXRUNTIME_CPU, "measurement": Measurement(threads=1), **how}
    return TryValues.model_validate({"tune": tune, "budget": Budget(max_drop=2, max_size_mb=0.3), **told})


@pytest.fixture
def try_it(trained: Graph, digits_file: Path, tmp_path: Path) -> Any:
    def run_it(order: TryValues) -> tuple[ValuesTried, list[Message]]:
        told: list[Message] = []
        (tmp_path / "outputs").mkdir()
        inputs = {InputRole.MODEL: saved(trained, tmp_path / "model.onnx"), InputRole.DATASET: digits_file}
        request = Request(task=order, inputs=inputs, outputs=tmp_path / "outputs", scratch=tmp_path)
        result = run(request, told.append).result
        assert isinstance(result, ValuesTried)
        return result, told

    return run_it


def test_it_says_what_it_has_chosen_then_what_came_of_it(try_it: Any) -> None:
    objectives = ["validation_loss", "validation_accuracy", "drop", "size"]
    order = task([{"kind": "finetune", "epochs": 3}], RATE, objectives=objectives)
    result, told = try_it(order)
    assert told[0] == Chosen(parameters=result.parameters)
    assert all(isinstance(message, Progress) and message.message.startswith("trial 0: ") for message in told[1:])
    assert len(result.reported) == 3
    loss, accuracy, drop, size = result.values
    assert loss == result.reported[-1]
    assert 0 <= accuracy <= 1
    assert size == pytest.approx(1, abs=0.01)
    assert result.over > 0  # 0.4 MB, and 0.3 are allowed
    assert drop < 100


def test_it_takes_what_an_earlier_attempt_had_chosen(try_it: Any) -> None:
    chosen = {"0.learning_rate": 1e-6}
    result, told = try_it(task([{"kind": "finetune", "epochs": 1}], RATE, parameters=chosen))
    assert result.parameters == chosen
    assert told[0] == Chosen(parameters=chosen)
    assert abs(result.values[0]) < 1  # so small a rate changes nothing


def test_with_early_stopping_it_is_the_best_epoch_that_counts(try_it: Any) -> None:
    passes = [{"kind": "finetune", "epochs": 4, "early_stopping": {"patience": 4}}]
    order = task(passes, RATE, parameters={"0.learning_rate": 0.02}, objectives=["validation_loss"])
    result, _ = try_it(order)
    assert result.values == (min(result.reported),)
    assert min(result.reported) < result.reported[-1]


def test_a_hopeless_one_is_given_up(try_it: Any) -> None:
    good = [
        TrialRead(
            number=n,
            state=TrialState.COMPLETE,
            parameters={"0.learning_rate": 1e-3},
            values=(0.01,),
            reported=(0.01,) * 9,
        )
        for n in range(6)
    ]
    how = {"parameters": {"0.learning_rate": 3.0}, "trials": good, "number": 6, "pruner": Pruner.MEDIAN}
    result, _ = try_it(task([{"kind": "finetune", "epochs": 9}], RATE, **how))
    assert result.values is None
    assert len(result.reported) < 9


def test_a_recipe_that_cannot_be_run_with_the_values_fails(try_it: Any) -> None:
    passes = [{"kind": "finetune", "epochs": 3, "optimizer": "sgd", "loss": "mse"}]
    with pytest.raises(EngineError):
        try_it(task(passes, RATE, parameters={"0.learning_rate": 10.0}))
    assert issubclass(TrainingDiverged, EngineError)


def test_passes_that_do_not_learn(try_it: Any) -> None:
    passes = [{"kind": "prune", "granularity": "channel", "sparsity": 0.5}]
    order = task(passes, SPARSITY, parameters={"0.sparsity": 0.3}, objectives=["macs", "latency", "drop"])
    result, _ = try_it(order)
    macs, latency, _ = result.values
    assert macs == pytest.approx(0.7, abs=0.05)
    assert latency < 1.5
    assert result.reported == ()
