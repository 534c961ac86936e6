"""Checks, seen by a caller and by a worker that is moved by hand."""

from pathlib import Path

import pytest

from app.embedded.service import Running
from tests.service import facts
from tests.service.actors import Guest, new_tenant
from tests.service.test_steps import finish_deliver, finish_optimize
from whetstone.client import Client
from whetstone.contract.checks import Beside, CheckLimits, CheckRead, CheckSpec, CheckState, Judged, Outcome, SideBySide
from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.jobs import JobRead
from whetstone.contract.models import ModelRead, TensorFacts
from whetstone.contract.reports import Estimate, VerdictKind
from whetstone.contract.steps import Compare, Compared, Fail, Finish, InputRole, Order, ReportMade
from whetstone.contract.targets import Target
from whetstone.errors import Conflict, Invalid, NotFound

TARGETS = (Target.ONNXRUNTIME_CPU, Target.OPENVINO_CPU)
LOOSE = CheckLimits(max_drop=5, max_slowdown=2, max_growth=2)


def done_job(client: Client, guest: Guest, folder: Path, kind: VerdictKind = VerdictKind.IMPROVED) -> JobRead:
    path = folder / "model.onnx"
    path.write_bytes(b"a model")
    job = client.jobs.submit(facts.spec(guest.model(client, path).id, None, targets=TARGETS))
    finish_optimize(guest, guest.claim(job.id), folder)
    for _ in TARGETS:
        finish_deliver(guest, guest.claim(job.id), folder, kind)
    guest.control.finish(guest.claim(job.id).token, Finish(result=ReportMade()))
    return client.jobs.get(job.id)


@pytest.fixture
def job(client: Client, guest: Guest, tmp_path: Path) -> JobRead:
    return done_job(client, guest, tmp_path)


@pytest.fixture
def candidate(client: Client, guest: Guest, tmp_path: Path) -> ModelRead:
    path = tmp_path / "candidate.onnx"
    path.write_bytes(b"a candidate")
    return guest.model(client, path)


def seen(order: Order, speedup: float = 1.0) -> SideBySide:
    assert isinstance(order.task, Compare)
    report = facts.target_report(order.task.target)
    return SideBySide(
        target=order.task.target,
        baseline=report.original,
        candidate=report.result,
        speedup=Estimate(value=speedup, low=speedup, high=speedup),
        accuracy=None,
        fidelity=report.fidelity,
        conditions=report.conditions,
        environment=report.environment,
    )


def measure(guest: Guest, check: CheckRead, speedup: float = 1.0) -> Order:
    order = guest.claim(check.id)
    guest.control.finish(order.token, Finish(result=Compared(seen=seen(order, speedup))))
    return order


def test_a_model_is_measured_on_each_target_beside_the_result(
    client: Client, guest: Guest, job: JobRead, candidate: ModelRead
) -> None:
    check = client.checks.create(CheckSpec(against=job.id, model_id=candidate.id))
    assert (check.state, check.outcome) == (CheckState.QUEUED, None)
    order = measure(guest, check)
    assert {given.role: given.filename for given in order.inputs} == {
        InputRole.MODEL: "model.onnx",
        InputRole.RESULT: "candidate.onnx",
    }
    assert isinstance(order.task, Compare)
    assert order.task.measurement == job.spec.measurement
    made = next(row for row in client.jobs.artifacts(job.id) if row.name == "model.onnx")
    assert order.inputs[0].sha256 == made.sha256  # what the job made, not what was uploaded
    assert client.checks.get(check.id).state is CheckState.RUNNING
    measure(guest, check)
    ended = client.checks.wait(check.id)
    assert (ended.state, ended.outcome) == (CheckState.FINISHED, Outcome.PASS)
    assert {finding.target for finding in ended.findings} == set(TARGETS)
    assert [each.target for each in ended.measured] == list(TARGETS)
    assert ended.finished_at is not None
    assert next(client.checks.list()) == ended


def test_one_target_beyond_a_limit_is_enough_to_fail(
    client: Client, guest: Guest, job: JobRead, candidate: ModelRead
) -> None:
    check = client.checks.create(CheckSpec(against=job.id, model_id=candidate.id))
    measure(guest, check)
    measure(guest, check, speedup=0.5)
    ended = client.checks.get(check.id)
    assert ended.outcome is Outcome.FAIL
    assert [each.judged for each in ended.findings if each.outcome is Outcome.FAIL] == [Judged.LATENCY]


def test_what_could_not_be_measured_proves_nothing(
    client: Client, guest: Guest, job: JobRead, candidate: ModelRead
) -> None:
    check = client.checks.create(CheckSpec(against=job.id, model_id=candidate.id, targets=TARGETS[:1]))
    failure = Failure(code=FailureCode.UNSUPPORTED_OP, message="no such operator")
    guest.control.fail(guest.claim(check.id).token, Fail(failure=failure))
    ended = client.checks.get(check.id)
    assert ended.outcome is Outcome.INCONCLUSIVE
    assert {finding.because for finding in ended.findings} == {"unsupported_op: no such operator"}


@pytest.mark.parametrize("how", ["no gain", "beside the original"])
def test_where_the_original_counts_it_is_what_the_candidate_is_put_beside(
    client: Client, guest: Guest, tmp_path: Path, candidate: ModelRead, how: str
) -> None:
    gained = how != "no gain"
    job = done_job(client, guest, tmp_path, VerdictKind.IMPROVED if gained else VerdictKind.NO_GAIN)
    beside = Beside.ORIGINAL if gained else Beside.RESULT
    check = client.checks.create(CheckSpec(against=job.id, model_id=candidate.id, beside=beside))
    order = guest.claim(check.id)
    assert order.inputs[0].sha256 == client.models.get(job.spec.model_id).sha256


def test_two_jobs_are_compared_at_once(client: Client, guest: Guest, job: JobRead, tmp_path: Path) -> None:
    other = done_job(client, guest, tmp_path)
    check = client.checks.create(CheckSpec(against=job.id, job_id=other.id, limits=LOOSE))
    assert (check.state, check.outcome) == (CheckState.FINISHED, Outcome.PASS)
    assert check.measured == ()
    latency = next(finding for finding in check.findings if finding.judged is Judged.LATENCY)
    assert latency.seen is not None
    assert latency.seen.value == pytest.approx(1)
    assert latency.seen.low < 1 < latency.seen.high


def test_a_cancelled_check_stays_so(client: Client, guest: Guest, job: JobRead, candidate: ModelRead) -> None:
    check = client.checks.create(CheckSpec(against=job.id, model_id=candidate.id))
    order = guest.claim(check.id)
    assert client.checks.cancel(check.id).state is CheckState.CANCELLED
    guest.control.finish(order.token, Finish(result=Compared(seen=seen(order))))
    ended = client.checks.cancel(check.id)
    assert (ended.state, ended.outcome) == (CheckState.CANCELLED, None)


def test_a_verdict_stands_when_its_model_is_gone(
    client: Client, guest: Guest, job: JobRead, candidate: ModelRead
) -> None:
    check = client.checks.create(CheckSpec(against=job.id, model_id=candidate.id, targets=TARGETS[:1]))
    with pytest.raises(Conflict) as refused:
        client.models.delete(candidate.id)
    assert refused.value.code == "still_in_use"
    measure(guest, check)
    client.models.delete(candidate.id)
    assert client.checks.get(check.id).outcome is Outcome.PASS
    with pytest.raises(Conflict) as refused:
        client.checks.cancel(check.id)
    assert refused.value.code == "check_finished"


def test_what_cannot_be_checked_is_refused(
    bare: Running, client: Client, guest: Guest, job: JobRead, candidate: ModelRead, tmp_path: Path
) -> None:
    def code(spec: CheckSpec, by: Client = client) -> str:
        with pytest.raises((Invalid, Conflict, NotFound)) as refused:
            by.checks.create(spec)
        return refused.value.code

    fresh = client.jobs.submit(facts.spec(job.spec.model_id))
    assert code(CheckSpec(against=fresh.id, model_id=candidate.id)) == "report_not_ready"
    assert code(CheckSpec(against=job.id, job_id=fresh.id)) == "report_not_ready"
    elsewhere = (Target.OPENVINO_CPU_BF16,)
    assert code(CheckSpec(against=job.id, model_id=candidate.id, targets=elsewhere)) == "nothing_to_check"
    path = tmp_path / "other.onnx"
    path.write_bytes(b"other")
    renamed = (TensorFacts(name="pixels", dtype="float32", shape=("batch", 4)),)
    other = guest.model(client, path, facts.MODEL.model_copy(update={"inputs": renamed}))
    assert code(CheckSpec(against=job.id, model_id=other.id)) == "interface_differs"
    with Client(bare.url, new_tenant(bare)) as stranger:
        assert code(CheckSpec(against=job.id, model_id=candidate.id), stranger) == "job_not_found"
