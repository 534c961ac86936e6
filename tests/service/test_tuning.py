"""A study's life in the service: trials by turns or side by side, lost, failed, stopped; and the best is delivered."""

from pathlib import Path
from typing import Any

import pytest

from app.embedded.service import Running
from tests.service import facts
from tests.service.actors import Guest, new_tenant, query, until
from tests.service.test_steps import finish_deliver, output
from whetstone.client import Client
from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.jobs import EventKind, JobRead, JobSpec, JobState, StepKind, StepState
from whetstone.contract.models import ModelRead
from whetstone.contract.reports import JobReport
from whetstone.contract.search import Ended
from whetstone.contract.steps import (
    Fail,
    Finish,
    Heartbeat,
    Optimize,
    Optimized,
    Order,
    ReportMade,
    TryValues,
    ValuesTried,
)
from whetstone.contract.tuning import TrialState, Values
from whetstone.errors import Conflict, Invalid, JobFailed, NotFound
from workers.control_plane import Refused

SPARSITY = {"0.sparsity": {"kind": "float", "low": 0.1, "high": 0.9}}
RATE = {"0.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}}
PRUNE = [{"kind": "prune", "sparsity": 0.5}]


@pytest.fixture
def model(client: Client, guest: Guest, tmp_path: Path) -> ModelRead:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    return guest.model(client, path)


def order(model_id: str, dataset_id: str | None = None, **fields: Any) -> JobSpec:
    plan = {"kind": "tune", "passes": PRUNE, "parameters": SPARSITY} | fields.pop("plan", {})
    return JobSpec.model_validate({"model_id": model_id, "dataset_id": dataset_id, "plan": plan, **fields})


def told(given: Order) -> TryValues:
    assert isinstance(given.task, TryValues)
    return given.task


def choose(guest: Guest, given: Order, sparsity: float) -> None:
    guest.control.heartbeat(given.token, Heartbeat(chosen={"0.sparsity": sparsity}))


def complete(guest: Guest, given: Order, sparsity: float, *values: float, over: float = 0.0) -> None:
    result = ValuesTried(parameters={"0.sparsity": sparsity}, values=values or (1 - sparsity,), over=over)
    guest.control.finish(given.token, Finish(result=result))


def fail(guest: Guest, given: Order, *, cancelled: bool = False) -> None:
    failure = Failure(code=FailureCode.NOTHING_TO_DO, message="no layer is large enough")
    guest.control.fail(given.token, Fail(failure=failure, cancelled=cancelled))


def waiting(client: Client, job: JobRead) -> int:
    return sum(step.state is StepState.QUEUED for step in client.jobs.get(job.id).steps)


def lose(service: Running, step_id: str) -> None:
    query(service, "update steps set lease_until = now() - interval '1 second' where id = %s", step_id)
    until(lambda: query(service, "select state from steps where id = %s", step_id) != [("running",)])


def deliver(client: Client, guest: Guest, job: JobRead, folder: Path) -> JobReport:
    """All that comes after the trials."""
    given = guest.claim(job.id)
    made = output(guest, given, folder, "model.onnx")
    guest.control.finish(given.token, Finish(result=Optimized(passes=(facts.pass_report(),)), outputs=(made,)))
    finish_deliver(guest, guest.claim(job.id), folder)
    guest.control.finish(guest.claim(job.id).token, Finish(result=ReportMade()))
    return client.jobs.wait(job.id)


def test_trials_by_turns_then_the_best_recipe(client: Client, guest: Guest, model: ModelRead, tmp_path: Path) -> None:
    job = client.jobs.submit(order(model.id, plan={"trials": 3, "objectives": ["drop", "size"]}))
    for number, (sparsity, drop, size) in enumerate([(0.3, 2, 0.8), (0.5, 1, 0.7), (0.2, 0.5, 0.9)]):
        given = guest.claim(job.id)
        assert told(given).number == number
        assert [trial.number for trial in told(given).trials] == list(range(number))
        choose(guest, given, sparsity)
        assert waiting(client, job) == 0  # one at a time
        complete(guest, given, sparsity, drop, size)
    task = guest.claim(job.id).task
    assert isinstance(task, Optimize)
    assert task.passes[0].sparsity == 0.2  # type: ignore[union-attr]
    ((_, step_id),) = query_steps(guest, job, StepKind.OPTIMIZE)
    lose(guest.service, step_id)
    study = deliver(client, guest, job, tmp_path).study
    assert study is not None
    assert (study.chosen, study.front, study.ended) == (2, (1, 2), Ended.TRIALS)
    assert [trial.values for trial in study.trials] == [(2, 0.8), (1, 0.7), (0.5, 0.9)]


def query_steps(guest: Guest, job: JobRead, kind: StepKind) -> list[tuple[Any, ...]]:
    return query(guest.service, "select state, id from steps where subject_id = %s and kind = %s", job.id, kind)


def test_the_budget_comes_before_the_objective(client: Client, guest: Guest, model: ModelRead) -> None:
    job = client.jobs.submit(order(model.id, plan={"trials": 2}))
    for sparsity, over in ((0.9, 0.2), (0.3, 0)):
        complete(guest, guest.claim(job.id), sparsity, over=over)
    task = guest.claim(job.id).task
    assert isinstance(task, Optimize)
    assert task.passes[0].sparsity == 0.3  # type: ignore[union-attr]


def test_the_next_is_queued_once_the_values_of_the_last_are_known(
    client: Client, guest: Guest, model: ModelRead
) -> None:
    job = client.jobs.submit(order(model.id, plan={"trials": 5, "parallel": 3}))
    first = guest.claim(job.id)
    assert waiting(client, job) == 0
    choose(guest, first, 0.1)
    second = guest.claim(job.id)
    (seen,) = told(second).trials
    assert (seen.number, seen.state, seen.parameters) == (0, TrialState.RUNNING, {"0.sparsity": 0.1})
    choose(guest, second, 0.2)
    third = guest.claim(job.id)
    choose(guest, third, 0.3)
    assert waiting(client, job) == 0  # three at a time
    complete(guest, second, 0.2)
    assert waiting(client, job) == 1
    choose(guest, third, 0.3)  # said twice
    complete(guest, first, 0.1)
    assert waiting(client, job) == 1
    fourth = guest.claim(job.id)
    assert [trial.number for trial in told(fourth).trials] == [1, 0, 2]  # as they ended, then those that run


def test_a_lost_trial_keeps_its_values(client: Client, guest: Guest, bare: Running, model: ModelRead) -> None:
    job = client.jobs.submit(order(model.id, plan={"parallel": 2}))
    given = guest.claim(job.id)
    lose(bare, given.step_id)
    given = guest.claim(job.id)
    assert told(given).parameters is None
    choose(guest, given, 0.25)
    lose(bare, given.step_id)
    again = guest.claim(job.id)
    assert told(again).number == 0
    assert told(again).parameters == {"0.sparsity": 0.25}
    with pytest.raises(Refused, match="wrong_result"):
        choose(guest, again, 0.5)


def test_one_that_fails_or_whose_workers_die_is_recorded(
    client: Client, guest: Guest, bare: Running, model: ModelRead, tmp_path: Path
) -> None:
    job = client.jobs.submit(order(model.id, plan={"trials": 4}))
    fail(guest, guest.claim(job.id))
    for _ in range(3):
        given = guest.claim(job.id)
        choose(guest, given, 0.4)
        lose(bare, given.step_id)
    pruned = ValuesTried(parameters={"0.sparsity": 0.6}, values=None, reported=(1.0, 0.9))
    guest.control.finish(guest.claim(job.id).token, Finish(result=pruned))
    complete(guest, guest.claim(job.id), 0.7)
    study = deliver(client, guest, job, tmp_path).study
    assert study is not None
    states = [TrialState.FAILED, TrialState.FAILED, TrialState.PRUNED, TrialState.COMPLETE]
    assert [trial.state for trial in study.trials] == states
    codes = [trial.failure.code for trial in study.trials if trial.failure]
    assert codes == [FailureCode.NOTHING_TO_DO, FailureCode.WORKER_LOST]
    assert study.trials[1].parameters == {"0.sparsity": 0.4}
    assert study.trials[2].reported == (1.0, 0.9)


def test_if_none_is_completed_the_job_fails_and_says_why(client: Client, guest: Guest, model: ModelRead) -> None:
    job = client.jobs.submit(order(model.id, plan={"trials": 2}))
    for _ in range(2):
        fail(guest, guest.claim(job.id))
    with pytest.raises(JobFailed, match=r"None of 2 trials was completed.*no layer is large enough"):
        client.jobs.wait(job.id)


def test_it_is_ended_early_with_the_best_so_far(
    client: Client, guest: Guest, bare: Running, model: ModelRead, tmp_path: Path
) -> None:
    job = client.jobs.submit(order(model.id, plan={"trials": 100, "parallel": 3}))
    with pytest.raises(Conflict, match="no best so far"):
        client.jobs.finish(job.id)
    first = guest.claim(job.id)
    choose(guest, first, 0.2)
    complete(guest, first, 0.2)
    running = guest.claim(job.id)
    choose(guest, running, 0.3)
    assert waiting(client, job) == 1
    for _ in range(2):
        assert client.jobs.finish(job.id).finishing
    assert waiting(client, job) == 0
    assert guest.control.heartbeat(running.token, Heartbeat()).cancel
    fail(guest, running, cancelled=True)
    study = deliver(client, guest, job, tmp_path).study
    assert study is not None
    assert (study.ended, study.chosen) == (Ended.REQUESTED, 0)
    assert [trial.state for trial in study.trials[1:]] == [TrialState.STOPPED] * 2
    kinds = query(bare, "select event->>'kind' from job_events where job_id = %s", job.id)
    assert kinds.count((EventKind.JOB_FINISHING,)) == 1
    with pytest.raises(Conflict):
        client.jobs.finish(job.id)


def test_when_the_minutes_are_over_no_trial_begins(
    client: Client, guest: Guest, bare: Running, model: ModelRead, tmp_path: Path
) -> None:
    job = client.jobs.submit(order(model.id, plan={"trials": 100, "minutes": 5}))
    given = guest.claim(job.id)
    query(bare, "update jobs set started_at = now() - interval '6 minutes' where id = %s", job.id)
    complete(guest, given, 0.2)
    study = deliver(client, guest, job, tmp_path).study
    assert study is not None
    assert (study.ended, len(study.trials)) == (Ended.MINUTES, 1)


def test_it_can_be_cancelled(client: Client, guest: Guest, model: ModelRead) -> None:
    job = client.jobs.submit(order(model.id, plan={"parallel": 2}))
    given = guest.claim(job.id)
    choose(guest, given, 0.2)
    second = guest.claim(job.id)
    assert client.jobs.cancel(job.id).state is JobState.CANCELLING
    choose(guest, second, 0.3)  # it had not heard yet
    assert guest.control.heartbeat(given.token, Heartbeat()).cancel
    with pytest.raises(Conflict):
        client.jobs.finish(job.id)
    fail(guest, second, cancelled=True)
    assert [trial.state for trial in client.jobs.trials(job.id)] == [TrialState.STOPPED, TrialState.RUNNING]
    fail(guest, given, cancelled=True)
    done = client.jobs.get(job.id)
    assert done.state is JobState.CANCELLED
    assert len(done.steps) == 2
    assert {trial.state for trial in client.jobs.trials(job.id)} == {TrialState.STOPPED}


def test_what_waits_is_cancelled_at_once(client: Client, guest: Guest, model: ModelRead) -> None:
    job = client.jobs.submit(order(model.id, plan={"parallel": 2}))
    given = guest.claim(job.id)
    choose(guest, given, 0.2)
    client.jobs.cancel(job.id)
    assert [trial.state for trial in client.jobs.trials(job.id)] == [TrialState.STOPPED, TrialState.RUNNING]
    complete(guest, given, 0.2)  # done before it heard
    assert client.jobs.get(job.id).state is JobState.CANCELLED
    with Client(guest.service.url, new_tenant(guest.service)) as stranger, pytest.raises(NotFound):
        stranger.jobs.trials(job.id)


@pytest.mark.parametrize(
    "values", [{}, {"0.sparsity": 0.95}, {"0.sparsity": True}, {"0.sparsity": 0.5, "0.samples": 3}]
)
def test_a_worker_cannot_choose_what_was_not_asked(
    client: Client, guest: Guest, model: ModelRead, values: Values
) -> None:
    given = guest.claim(client.jobs.submit(order(model.id)).id)
    with pytest.raises(Refused, match="wrong_result"):
        guest.control.heartbeat(given.token, Heartbeat(chosen=values))
    with pytest.raises(Refused, match="wrong_result"):
        guest.control.finish(given.token, Finish(result=ValuesTried(parameters=values, values=(1.0,))))


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        ({"trials": 0}, "invalid_request"),
        ({"parameters": {"0.nothing": SPARSITY["0.sparsity"]}}, "invalid_request"),
        ({"passes": [{"kind": "finetune"}], "parameters": RATE,
          "objectives": ["validation_accuracy"]}, "labels_required"),
        ({"passes": [{"kind": "finetune", "loss": "mse"}], "parameters": RATE}, "dataset_required"),
        ({"passes": [{"kind": "quantize", "activations": "dynamic"}],
          "parameters": {"0.activations": {"kind": "choice", "values": ["dynamic", "static"]}}}, "dataset_required"),
    ],
)  # fmt: skip
def test_what_is_refused_at_once(client: Client, model: ModelRead, plan: dict[str, Any], code: str) -> None:
    body = order(model.id).model_dump(mode="json")
    body["plan"] |= plan
    with pytest.raises(Invalid) as refused:
        client.request("POST", "/v1/jobs", json=body)
    assert refused.value.code == code


def test_the_estimate_counts_trials(client: Client, model: ModelRead) -> None:
    def seconds(trials: int) -> dict[StepKind, float]:
        found = client.jobs.estimate(order(model.id, plan={"trials": trials}))
        return {step.kind: step.seconds for step in found.steps}

    few, many = seconds(5), seconds(50)
    assert many[StepKind.TRIAL] == pytest.approx(10 * few[StepKind.TRIAL])
    assert many[StepKind.OPTIMIZE] == few[StepKind.OPTIMIZE] < few[StepKind.TRIAL]
    shortest = client.jobs.estimate(order(model.id, plan={"trials": 500, "minutes": 0.1})).steps[0]
    assert shortest.seconds < 10
