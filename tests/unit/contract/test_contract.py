"""The contract: closed, frozen, and the same after a trip through JSON."""

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.service import facts
from whetstone.contract.factorization import Factorize
from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.jobs import JobSpec, Recipe
from whetstone.contract.learning import Finetune
from whetstone.contract.passes import Pass, Simplify
from whetstone.contract.problems import Problem
from whetstone.contract.pruning import Goal, Granularity, Measure, Polynomial, Prune
from whetstone.contract.quantization import Quantize
from whetstone.contract.steps import Delivered, Finish, Optimize, StepResult, Task
from whetstone.contract.targets import HardwareClass, Target, hardware_of

MODEL = "mdl_01m85xjgsteg48drqmjyjr7bzb"


@pytest.mark.parametrize(
    "config",
    [
        Simplify(),
        Prune(),
        Prune(schedule=Polynomial()),
        Prune(granularity=Granularity.N_M),
        Prune(granularity=Granularity.CHANNEL, goal=Goal(of=Measure.MACS, share=0.5)),
        Factorize(),
        Factorize(goal=Goal(of=Measure.LATENCY, share=0.5)),
        Finetune(),
        Quantize(),
    ],
)
def test_a_pass_survives_json(config: Pass) -> None:
    adapter: TypeAdapter[Pass] = TypeAdapter(Pass)
    assert adapter.validate_json(adapter.dump_json(config)) == config


def test_a_step_survives_json() -> None:
    tasks: TypeAdapter[Task] = TypeAdapter(Task)
    task = Optimize(passes=(Prune(), Quantize()), done=(facts.pass_report(),))
    assert tasks.validate_json(tasks.dump_json(task)) == task
    results: TypeAdapter[StepResult] = TypeAdapter(StepResult)
    result = Delivered(report=facts.target_report(Target.OPENVINO_CPU))
    assert results.validate_json(results.dump_json(result)) == result
    assert Finish.model_validate_json(Finish(result=result).model_dump_json()).result == result


def test_it_is_closed_and_frozen() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        JobSpec.model_validate({"model_id": MODEL, "plan": {"passes": [{"kind": "simplify"}]}, "extra": 1})
    spec = JobSpec(model_id=MODEL, plan=Recipe(passes=(Simplify(),)))
    with pytest.raises(ValidationError, match="frozen"):
        spec.model_id = MODEL  # type: ignore[misc]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Prune(sparsity=0),
        lambda: Prune(sparsity=1),
        lambda: Prune(sparsity=0.3, schedule=Polynomial(initial_sparsity=0.3)),
        lambda: Polynomial(begin_step=10, end_step=10),
        lambda: Finetune(learning_rate=float("nan")),
        lambda: Finetune(validation_fraction=0),
        lambda: Recipe(passes=()),
        lambda: JobSpec(model_id="mdl_short", plan=Recipe(passes=(Simplify(),))),
        lambda: JobSpec(model_id=MODEL, plan=Recipe(passes=(Simplify(),)), targets=(Target.OPENVINO_CPU,) * 2),
    ],
)
def test_what_makes_no_sense_cannot_be_said(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(ValidationError):
        wrong()


def test_every_target_has_a_hardware_class() -> None:
    assert {hardware_of(target) for target in Target} == {HardwareClass.CPU}


def test_a_client_understands_problems_of_later_services() -> None:
    later = {"title": "x", "status": 400, "code": "y", "detail": "z", "something_new": 1}
    assert Problem.model_validate(later).code == "y"


def test_codes_are_what_they_are_called() -> None:
    assert all(code.value == code.name.lower() for code in FailureCode)
    assert Failure(code=FailureCode.TIME_LIMIT, message="x").model_dump(mode="json")["code"] == "time_limit"
