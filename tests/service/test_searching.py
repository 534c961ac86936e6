"""A search's life in the service: what it finds is kept, it can be ended early, and it survives its worker."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded import service as embedded
from app.embedded.service import Running
from examples import digits
from tests.service import facts
from tests.service.actors import Guest, new_tenant, query, until
from tests.service.conftest import QUICK, data_folder
from tests.service.test_steps import finish_deliver, output
from whetstone.client import Client
from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.jobs import ArtifactKind, Budget, EventKind, JobRead, JobSpec, JobState, Objective, StepState
from whetstone.contract.passes import Simplify
from whetstone.contract.quantization import Quantize
from whetstone.contract.reports import Candidate, SearchSummary, VerdictKind
from whetstone.contract.search import Ended, Limit, Search
from whetstone.contract.steps import (
    Contender,
    Deliver,
    Delivered,
    Fail,
    Findings,
    Finish,
    Heartbeat,
    InputRole,
    ReportMade,
    Searched,
    SearchRecipe,
    Winner,
)
from whetstone.contract.targets import RuntimeSettings, Target
from whetstone.contract.trials import Interrupted, Proposal, Remembered, Trial
from whetstone.errors import Conflict, NotFound
from workers.control_plane import Refused

ORIGINAL, SIMPLE = Proposal(recipe=()), Proposal(recipe=(Simplify(),))


@pytest.fixture
def job(client: Client, guest: Guest, tmp_path: Path) -> JobRead:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    return client.jobs.submit(JobSpec(model_id=guest.model(client, path).id, input_shapes={"x": (1, 4)}))


def lose(service: Running, client: Client, job_id: str, step_id: str) -> None:
    query(service, "update steps set lease_until = now() - interval '1 second' where id = %s", step_id)
    until(lambda: client.jobs.get(job_id).steps[0].state is not StepState.RUNNING)


def test_what_a_search_found_outlives_its_worker(
    client: Client, guest: Guest, bare: Running, job: JobRead, tmp_path: Path
) -> None:
    order = guest.claim(job.id)
    trial = Trial(proposal=ORIGINAL, seconds=1)
    for number in range(2):
        best = output(guest, order, tmp_path, f"best-{number}.zip", ArtifactKind.CHECKPOINT)
        guest.control.save_findings(order.token, Findings(tried=(trial,), spent=number, output=best))
    guest.control.save_findings(order.token, Findings(trying=Interrupted(proposal=SIMPLE), spent=2.5))
    lose(bare, client, job.id, order.step_id)
    again = guest.claim(job.id)
    assert isinstance(again.task, SearchRecipe)
    assert again.task.tried == (trial, trial)
    assert again.task.trying == Interrupted(proposal=SIMPLE)
    assert again.task.spent == 2.5
    (kept,) = [given for given in again.inputs if given.role is InputRole.CHECKPOINT]
    assert kept.filename == "best-1.zip"
    assert query(bare, "select name from artifacts where job_id = %s", job.id) == [("best-1.zip",)]
    guest.control.fail(again.token, Fail(failure=Failure(code=FailureCode.INTERNAL_ERROR, message="x")))
    assert query(bare, "select name from artifacts where job_id = %s", job.id) == []


def test_attempts_count_anew_with_each_candidate(client: Client, guest: Guest, bare: Running, job: JobRead) -> None:
    for number in range(5):
        order = guest.claim(job.id)
        tried = (Trial(proposal=ORIGINAL, seconds=1),) if number < 2 else ()
        guest.control.save_findings(order.token, Findings(tried=tried, spent=number))
        lose(bare, client, job.id, order.step_id)
    step = client.jobs.get(job.id).steps[0]
    assert (step.state, step.attempt) == (StepState.FAILED, 5)


def test_only_a_search_has_findings(client: Client, guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"another model")
    other = client.jobs.submit(facts.spec(guest.model(client, path).id))
    with pytest.raises(Refused, match="wrong_result"):
        guest.control.save_findings(guest.claim(other.id).token, Findings(spent=0))
    with pytest.raises(Conflict, match="never had one"):
        client.jobs.finish(other.id)


def test_a_search_is_ended_early(client: Client, guest: Guest, bare: Running, job: JobRead, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="not begun"):
        client.jobs.finish(job.id)
    order = guest.claim(job.id)
    assert not guest.control.heartbeat(order.token, Heartbeat()).wrap_up
    for _ in range(2):
        assert client.jobs.finish(job.id).finishing
    answer = guest.control.heartbeat(order.token, Heartbeat())
    assert (answer.wrap_up, answer.cancel) == (True, False)
    guest.control.save_findings(order.token, Findings(tried=(Trial(proposal=ORIGINAL, seconds=1),), spent=1))
    lose(bare, client, job.id, order.step_id)
    order = guest.claim(job.id)
    assert isinstance(order.task, SearchRecipe)
    assert order.task.stop is Ended.REQUESTED  # the next worker is told when it begins
    made = output(guest, order, tmp_path, "result-1.onnx")
    winner = Winner(target=Target.ONNXRUNTIME_CPU, file=made.name, passes=())
    summary = SearchSummary(ended=Ended.REQUESTED, trials=1, seconds=1)
    result = Searched(candidates=(), winners=(winner,), summary=summary)
    guest.control.finish(order.token, Finish(result=result, outputs=(made,)))
    with pytest.raises(Conflict, match="has ended"):
        client.jobs.finish(job.id)
    finish_deliver(guest, guest.claim(job.id), tmp_path)
    guest.control.finish(guest.claim(job.id).token, Finish(result=ReportMade()))
    assert client.jobs.wait(job.id).search == summary
    told = query(bare, "select count(*) from job_events where job_id = %s and event->>'kind' = 'job.finishing'", job.id)
    assert told == [(1,)]
    with pytest.raises(Conflict):
        client.jobs.finish(job.id)


def test_the_report_tells_of_the_runner_up_where_it_was_taken(
    client: Client, guest: Guest, job: JobRead, tmp_path: Path
) -> None:
    order = guest.claim(job.id)
    first, second = (output(guest, order, tmp_path, f"result-{number}.onnx") for number in (1, 2))
    told = {"target": Target.ONNXRUNTIME_CPU, "lost": 0.1, "speedup": 2, "size_ratio": 3, "front": True}
    recipes = {True: (Simplify(), Quantize()), False: (Simplify(),)}
    candidates = [
        Candidate.model_validate({**told, "recipe": recipe, "chosen": chosen, "because": "so"})
        for chosen, recipe in recipes.items()
    ]
    simplified = facts.pass_report()
    quantized = simplified.model_copy(update={"index": 1, "config": Quantize()})
    winner = Winner(
        target=Target.ONNXRUNTIME_CPU,
        file=first.name,
        passes=(simplified, quantized),
        runner_up=Contender(file=second.name, settings=RuntimeSettings(threads=1), passes=(simplified,)),
    )
    candidates[1] = candidates[1].model_copy(update={"settings": RuntimeSettings(threads=1)})
    summary = SearchSummary(ended=Ended.EXHAUSTED, trials=2, seconds=1)
    result = Searched(candidates=tuple(candidates), winners=(winner,), summary=summary)
    guest.control.finish(order.token, Finish(result=result, outputs=(first, second)))
    order = guest.claim(job.id)
    assert isinstance(order.task, Deliver)
    assert order.task.runner_up == RuntimeSettings(threads=1)
    assert {InputRole.RESULT, InputRole.RUNNER_UP} <= {given.role for given in order.inputs}
    made = output(guest, order, tmp_path, "onnxruntime-cpu.onnx")
    report = facts.target_report(Target.ONNXRUNTIME_CPU).model_copy(update={"first_choice": "too much was lost"})
    guest.control.finish(order.token, Finish(result=Delivered(report=report), outputs=(made,)))
    guest.control.finish(guest.claim(job.id).token, Finish(result=ReportMade()))
    whole = client.jobs.wait(job.id)
    assert whole.passes == (simplified,)
    assert [candidate.chosen for candidate in whole.candidates] == [False, True]
    assert "too much was lost" in whole.candidates[0].because


def test_a_cancelled_search_is_not_finished(client: Client, guest: Guest, job: JobRead) -> None:
    order = guest.claim(job.id)
    client.jobs.cancel(job.id)
    with pytest.raises(Conflict):
        client.jobs.finish(job.id)
    gone = Failure(code=FailureCode.INTERNAL_ERROR, message="cancelled")
    guest.control.fail(order.token, Fail(failure=gone, cancelled=True))
    assert client.jobs.get(job.id).state is JobState.CANCELLED


def test_a_finishing_search_can_still_be_cancelled(client: Client, guest: Guest, job: JobRead) -> None:
    order = guest.claim(job.id)
    client.jobs.finish(job.id)
    assert client.jobs.cancel(job.id).state is JobState.CANCELLING
    assert guest.control.heartbeat(order.token, Heartbeat()).cancel


def test_a_stranger_can_finish_nothing(bare: Running, guest: Guest, job: JobRead) -> None:
    guest.claim(job.id)
    with Client(bare.url, new_tenant(bare)) as stranger, pytest.raises(NotFound):
        stranger.jobs.finish(job.id)


def test_the_next_search_for_an_alike_model_knows_what_the_last_one_found(
    client: Client, guest: Guest, bare: Running, job: JobRead, tmp_path: Path
) -> None:
    order = guest.claim(job.id)
    assert isinstance(order.task, SearchRecipe)
    assert order.task.history == ()
    made = output(guest, order, tmp_path, "result-1.onnx")
    seen = {"target": Target.ONNXRUNTIME_CPU, "front": True, "chosen": False, "because": "so"}
    good = Candidate.model_validate({**seen, "recipe": SIMPLE.recipe, "lost": 0.1, "speedup": 2, "size_ratio": 3})
    failed = Candidate.model_validate({**seen, "recipe": (), "lost": None, "speedup": None, "size_ratio": None})
    elsewhere = good.model_copy(update={"target": Target.OPENVINO_CPU})
    result = Searched(
        candidates=(good, failed, elsewhere),
        winners=(Winner(target=Target.ONNXRUNTIME_CPU, file=made.name, passes=()),),
        summary=SearchSummary(ended=Ended.EXHAUSTED, trials=1, seconds=1),
    )
    guest.control.finish(order.token, Finish(result=result, outputs=(made,)))

    def next_history(of: Client, params: int) -> tuple[Remembered, ...]:
        path = tmp_path / "next.onnx"
        path.write_bytes(f"a model of {params}".encode())
        model = guest.model(of, path, facts.MODEL.model_copy(update={"params": params}))
        task = guest.claim(of.jobs.submit(JobSpec(model_id=model.id)).id).task
        assert isinstance(task, SearchRecipe)
        return task.history

    (known,) = next_history(client, 10)
    assert (known.recipe, known.likeness, known.speedup) == (SIMPLE.recipe, 1, 2)
    assert 0.5 < next_history(client, 30)[0].likeness < 1
    assert next_history(client, 10_000) == ()
    with Client(bare.url, new_tenant(bare)) as stranger:
        assert next_history(stranger, 10) == ()


@pytest.fixture
def own() -> Iterator[Running]:
    with data_folder() as folder, embedded.running(folder, "127.0.0.1", 0, **QUICK) as running:
        yield running


def submit(client: Client, folder: Path, budget: Budget | None = None, **limit: float) -> JobRead:
    digits.write(folder)
    return client.jobs.submit(
        JobSpec(
            model_id=client.models.upload(folder / "digits.onnx").id,
            dataset_id=client.datasets.upload(folder / "digits.npz").id,
            plan=Search(limit=Limit.model_validate(limit)),
            budget=budget or Budget(objective=Objective.SIZE, max_drop=3),
            measurement={"max_seconds": 2},
        )
    )


def wait_for_trial(client: Client, job_id: str, number: int) -> None:
    for event in client.jobs.events(job_id):
        if event.kind is EventKind.STEP_PROGRESS and event.metrics.get("trials", 0) >= number:
            return


def test_a_search_goes_on_after_its_worker_was_killed(own: Running, tmp_path: Path) -> None:
    with Client(own.url, new_tenant(own)) as client:
        job = submit(client, tmp_path, trials=5)
        wait_for_trial(client, job.id, 2)
        worker = own.processes[-1]
        os.killpg(worker.pid, signal.SIGKILL)
        while worker.exit_code() is None:
            time.sleep(0.01)
        ((kept,),) = query(own, "select task->'tried' from steps where subject_id = %s and kind = 'search'", job.id)
        assert len(kept) >= 2
        worker.start()
        report = client.jobs.wait(job.id)
        search = client.jobs.get(job.id).steps[0]
    assert search.attempt == 2
    assert report.search is not None
    assert report.search.trials == 5
    ((tried,),) = query(own, "select task->'tried' from steps where subject_id = %s and kind = 'search'", job.id)
    assert tried[: len(kept)] == kept  # not tried again
    assert any(candidate.chosen for candidate in report.candidates)


def test_a_real_search_is_ended_early(full_client: Client, tmp_path: Path) -> None:
    client = full_client
    job = submit(client, tmp_path, trials=100, minutes=60)
    wait_for_trial(client, job.id, 2)
    client.jobs.finish(job.id)
    report = client.jobs.wait(job.id)
    assert report.search is not None
    assert report.search.ended is Ended.REQUESTED
    assert 2 <= report.search.trials < 10
    assert any(candidate.chosen for candidate in report.candidates)
    page = client.request("GET", f"/v1/jobs/{job.id}/report.html").text
    assert "it was told to take the best so far" in page


def test_a_limit_that_cannot_be_kept_is_over_budget_with_the_nearest_miss(full_client: Client, tmp_path: Path) -> None:
    client = full_client
    budget = Budget(objective=Objective.SIZE, max_drop=3, max_size_mb=0.01)
    report = client.jobs.wait(submit(client, tmp_path, budget, trials=3).id)
    assert report.verdict.kind is VerdictKind.OVER_BUDGET
    assert "over max_size_mb (0.01 MB)" in report.verdict.reason
    assert "no candidate keeps every limit; simplify → quantize" in report.verdict.reason
    assert report.targets[0].size_ratio > 2


def test_an_accuracy_to_keep(full_client: Client, tmp_path: Path) -> None:
    """Far below what the model has, it lets a search take what costs a lot; above it, nothing may be lost."""
    client = full_client
    budget = Budget(objective=Objective.SIZE, min_accuracy=0.5)
    report = client.jobs.wait(submit(client, tmp_path, budget, trials=3).id)
    assert report.verdict.kind is VerdictKind.IMPROVED
    assert report.targets[0].accuracy is not None
    assert report.targets[0].accuracy.result > 0.5
    (chosen,) = [candidate for candidate in report.candidates if candidate.chosen]
    assert "allowed" not in chosen.because
