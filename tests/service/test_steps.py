"""The life of steps and jobs, seen by a worker that does everything wrong it can."""

import time
from pathlib import Path

import httpx
import pytest

from app.embedded.service import Running
from tests.service import facts
from tests.service.actors import Guest, new_tenant, query, until
from tests.service.conftest import LEASE_SECONDS
from whetstone.client import Client
from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.jobs import ArtifactKind, EventKind, JobRead, JobSpec, JobState, StepKind, StepState
from whetstone.contract.provenance import MANIFESTS
from whetstone.contract.reports import VerdictKind
from whetstone.contract.steps import (
    Checkpoint,
    Deliver,
    Delivered,
    Fail,
    Finish,
    Heartbeat,
    InputRole,
    LearningState,
    Optimize,
    Optimized,
    Order,
    OutputFile,
    ReportMade,
    UploadDone,
    UploadRequest,
)
from whetstone.contract.targets import Target
from whetstone.errors import Conflict, JobFailed, NotFound
from workers.control_plane import Refused

MODEL_FILE = "application/octet-stream"


@pytest.fixture
def job(client: Client, guest: Guest, tmp_path: Path) -> JobRead:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    targets = (Target.ONNXRUNTIME_CPU, Target.OPENVINO_CPU)
    return client.jobs.submit(facts.spec(guest.model(client, path).id, None, targets=targets))


def output(
    guest: Guest, order: Order, tmp_path: Path, name: str, kind: ArtifactKind = ArtifactKind.MODEL
) -> OutputFile:
    path = tmp_path / name
    path.write_bytes(f"content of {name}".encode())
    stored = guest.control.upload(order.token, path)
    return OutputFile(name=name, kind=kind, media_type=MODEL_FILE, sha256=stored.sha256, size=stored.size)


def finish_optimize(guest: Guest, order: Order, tmp_path: Path) -> None:
    made = output(guest, order, tmp_path, "model.onnx")
    guest.control.finish(order.token, Finish(result=Optimized(passes=(facts.pass_report(),)), outputs=(made,)))


def finish_deliver(guest: Guest, order: Order, tmp_path: Path, kind: VerdictKind = VerdictKind.IMPROVED) -> None:
    assert isinstance(order.task, Deliver)
    made = output(guest, order, tmp_path, f"{order.task.target.replace('/', '-')}.onnx")
    result = Delivered(report=facts.target_report(order.task.target, kind))
    guest.control.finish(order.token, Finish(result=result, outputs=(made,)))


def test_a_job_goes_from_optimize_over_its_targets_to_a_report(
    client: Client, guest: Guest, job: JobRead, tmp_path: Path
) -> None:
    finish_optimize(guest, guest.claim(job.id), tmp_path)
    first, second = guest.claim(job.id), guest.claim(job.id)
    assert {given.role for given in first.inputs} == {InputRole.MODEL, InputRole.RESULT}
    finish_deliver(guest, first, tmp_path, VerdictKind.NO_GAIN)
    with pytest.raises(IndexError):
        guest.claim(job.id)  # the report waits for the second target
    finish_deliver(guest, second, tmp_path)
    order = guest.claim(job.id)
    page = output(guest, order, tmp_path, "report.html", ArtifactKind.REPORT)
    with pytest.raises(Conflict):
        client.jobs.report(job.id)
    guest.control.finish(order.token, Finish(result=ReportMade(), outputs=(page,)))
    report = client.jobs.wait(job.id)
    assert report.verdict.kind is VerdictKind.IMPROVED
    assert {target.target for target in report.targets} == {Target.ONNXRUNTIME_CPU, Target.OPENVINO_CPU}
    assert client.request("GET", f"/v1/jobs/{job.id}/report.html").text == "content of report.html"
    names = {path.name for path in client.jobs.download(job.id, tmp_path / "results")}
    assert names == {"model.onnx", "onnxruntime-cpu.onnx", "openvino-cpu.onnx", "report.html", MANIFESTS}
    with pytest.raises(Conflict):
        client.jobs.cancel(job.id)


def test_the_list_tells_of_each_job_what_its_own_page_does(
    client: Client, guest: Guest, bare: Running, job: JobRead, tmp_path: Path
) -> None:
    failed, gone, bare_of_steps = (client.jobs.submit(facts.spec(job.spec.model_id, name='é "\\ 1')) for _ in range(3))
    failure = Failure(code=FailureCode.CALIBRATION_FAILED, message="no", hint="try\nagain", layer="a/b")
    guest.control.fail(guest.claim(failed.id).token, Fail(failure=failure))
    client.jobs.cancel(gone.id)
    query(bare, "delete from steps where subject_id = %s", bare_of_steps.id)
    finish_optimize(guest, guest.claim(job.id), tmp_path)
    guest.control.heartbeat(guest.claim(job.id).token, Heartbeat(progress=1 / 3, message="½ done"))
    search = client.jobs.submit(JobSpec(model_id=job.spec.model_id))
    guest.claim(search.id)
    query(bare, "update steps set task = jsonb_set(task, '{stop}', '\"requested\"') where subject_id = %s", search.id)
    ids = [each.id for each in (search, bare_of_steps, gone, failed, job)]
    pages = [client.jobs.get(each) for each in ids]
    assert [page.finishing for page in pages] == [True, False, False, False, False]
    for limit in ("1", "2", "5", "100"):
        assert list(client.pages("/v1/jobs", JobRead, limit=limit)) == pages


def test_a_target_that_fails_does_not_take_the_others_with_it(
    client: Client, guest: Guest, job: JobRead, tmp_path: Path
) -> None:
    finish_optimize(guest, guest.claim(job.id), tmp_path)
    failure = Failure(code=FailureCode.TARGET_BUILD_FAILED, message="no")
    guest.control.fail(guest.claim(job.id).token, Fail(failure=failure))
    finish_deliver(guest, guest.claim(job.id), tmp_path)
    guest.control.fail(guest.claim(job.id).token, Fail(failure=failure))  # the page could not be drawn either
    report = client.jobs.wait(job.id)
    assert len(report.targets) == len(report.failed_targets) == 1
    assert report.failed_targets[0].failure.code is FailureCode.TARGET_BUILD_FAILED
    with pytest.raises(NotFound):
        client.request("GET", f"/v1/jobs/{job.id}/report.html")


def test_what_a_failed_step_has_saved_can_be_downloaded(
    client: Client, guest: Guest, job: JobRead, tmp_path: Path
) -> None:
    order = guest.claim(job.id)
    best = output(guest, order, tmp_path, "best-so-far.onnx")
    failure = Failure(code=FailureCode.TRAINING_DIVERGED, message="The loss became infinite or NaN in step 9.")
    guest.control.fail(order.token, Fail(failure=failure, outputs=(best,)))
    with pytest.raises(JobFailed):
        client.jobs.wait(job.id)
    assert [path.name for path in client.jobs.download(job.id, tmp_path / "results")] == ["best-so-far.onnx"]


def test_a_bad_model_is_never_tried_again(client: Client, guest: Guest, job: JobRead) -> None:
    failure = Failure(code=FailureCode.RUNTIME_CRASHED, message="The model crashed.", layer="dense")
    guest.control.fail(guest.claim(job.id).token, Fail(failure=failure))
    with pytest.raises(JobFailed) as failed:
        client.jobs.wait(job.id)
    assert failed.value.failure is not None
    assert failed.value.failure.layer == "dense"
    assert failed.value.failure.step == client.jobs.get(job.id).steps[0].id
    assert client.jobs.get(job.id).steps[0].attempt == 1


def test_a_message_that_comes_twice_claims_nothing(guest: Guest, job: JobRead, tmp_path: Path) -> None:
    order = guest.claim(job.id)
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            guest.control.claim(guest.token(order.step_id))
        assert refused.value.code == "nothing_to_claim"
    finish_optimize(guest, order, tmp_path)
    with pytest.raises(Refused):
        guest.control.claim(guest.token(order.step_id))


def test_a_silent_worker_loses_its_step_to_the_next(
    client: Client, guest: Guest, bare: Running, job: JobRead, tmp_path: Path
) -> None:
    lost = guest.claim(job.id)
    until(lambda: client.jobs.get(job.id).steps[0].state is StepState.QUEUED, LEASE_SECONDS + 5)
    again = guest.claim(job.id)
    assert again.attempt == 2
    for move in (
        lambda: guest.control.heartbeat(lost.token, Heartbeat()),
        lambda: guest.control.finish(lost.token, Finish(result=Optimized(passes=()))),
        lambda: guest.control.fail(lost.token, Fail(failure=Failure(code=FailureCode.INTERNAL_ERROR, message="x"))),
    ):
        with pytest.raises(Refused) as refused:
            move()
        assert refused.value.code == "step_lost"
    finish_optimize(guest, again, tmp_path)
    kinds = [event.kind for event in _events(client, bare, job.id)]
    assert kinds.count(EventKind.STEP_STARTED) == 2
    assert kinds.count(EventKind.STEP_RETRIED) == 1
    assert kinds.count(EventKind.STEP_FINISHED) == 1


def _events(client: Client, service: Running, job_id: str) -> list[object]:
    rows = query(service, "select event from job_events where job_id = %s order by seq", job_id)
    assert client.url == service.url
    return [type("Event", (), {"kind": EventKind(row[0]["kind"])}) for row in rows]


def test_heartbeats_keep_a_step(client: Client, guest: Guest, job: JobRead, tmp_path: Path) -> None:
    order = guest.claim(job.id)
    for beat in range(LEASE_SECONDS * 2):
        time.sleep(0.7)
        guest.control.heartbeat(order.token, Heartbeat(progress=beat / 10, message="working", metrics={"loss": 0.5}))
    assert client.jobs.get(job.id).steps[0].message == "working"
    finish_optimize(guest, order, tmp_path)
    assert client.jobs.get(job.id).steps[0].attempt == 1


def test_attempts_end(client: Client, guest: Guest, bare: Running, job: JobRead) -> None:
    for _ in range(3):
        order = guest.claim(job.id)
        query(bare, "update steps set lease_until = now() - interval '1 second' where id = %s", order.step_id)
        until(lambda: client.jobs.get(job.id).steps[0].state is not StepState.RUNNING)
    with pytest.raises(JobFailed) as failed:
        client.jobs.wait(job.id)
    assert failed.value.failure is not None
    assert failed.value.failure.code is FailureCode.WORKER_LOST


def test_finishing_twice_is_finishing_once(client: Client, guest: Guest, job: JobRead, tmp_path: Path) -> None:
    order = guest.claim(job.id)
    made = output(guest, order, tmp_path, "model.onnx")
    done = Finish(result=Optimized(passes=(facts.pass_report(),)), outputs=(made,))
    guest.control.finish(order.token, done)
    guest.control.finish(order.token, done)
    kinds = [step.kind for step in client.jobs.get(job.id).steps]
    assert kinds == [StepKind.OPTIMIZE, StepKind.DELIVER, StepKind.DELIVER]
    assert len(client.jobs.artifacts(job.id)) == 1


def test_an_output_that_was_not_uploaded_or_is_another_is_refused(
    guest: Guest, bare: Running, job: JobRead, tmp_path: Path
) -> None:
    order = guest.claim(job.id)
    ghost = OutputFile(name="a", kind=ArtifactKind.MODEL, media_type=MODEL_FILE, sha256="0" * 64, size=1)
    with pytest.raises(Refused) as refused:
        guest.control.finish(order.token, Finish(result=Optimized(passes=()), outputs=(ghost,)))
    assert refused.value.code == "output_missing"
    wanted = guest.control._call("POST", "/v1/worker/uploads", order.token, ghost_request()).json()
    url = wanted["parts"][0]["url"]
    answer = httpx.put(url, content=b"something else")
    assert answer.status_code in (413, 422)
    assert httpx.put(url.replace(bare.url, bare.url + "/x"), content=b"").status_code in (404, 405)
    assert httpx.get(url).json()["code"] == "invalid_token"
    with pytest.raises(Refused) as refused:
        guest.control._call("POST", "/v1/worker/uploads/complete", order.token, UploadDone(upload=wanted["upload"]))
    assert refused.value.code == "parts_missing"
    finish_optimize(guest, order, tmp_path)


def ghost_request() -> UploadRequest:
    return UploadRequest(sha256="0" * 64, size=14)


def test_a_retry_goes_on_from_the_last_checkpoint(
    client: Client, guest: Guest, bare: Running, job: JobRead, tmp_path: Path
) -> None:
    order = guest.claim(job.id)
    for number in range(2):
        saved = output(guest, order, tmp_path, f"checkpoint-{number}.onnx", ArtifactKind.CHECKPOINT)
        guest.control.checkpoint(order.token, Checkpoint(passes=(facts.pass_report(),) * (number + 1), output=saved))
    query(bare, "update steps set lease_until = now() - interval '1 second' where id = %s", order.step_id)
    until(lambda: client.jobs.get(job.id).steps[0].state is StepState.QUEUED)
    again = guest.claim(job.id)
    assert isinstance(again.task, Optimize)
    assert len(again.task.done) == 2
    checkpoint = next(given for given in again.inputs if given.role is InputRole.CHECKPOINT)
    guest.control.download(checkpoint, tmp_path / "downloaded")
    assert (tmp_path / "downloaded").read_bytes() == b"content of checkpoint-1.onnx"
    assert client.jobs.artifacts(job.id) == ()
    finish_optimize(guest, again, tmp_path)
    left = query(bare, "select count(*) from artifacts where job_id = %s and kind <> 'model'", job.id)
    assert left == [(0,)]


def test_a_retry_goes_on_in_the_middle_of_learning(
    client: Client, guest: Guest, bare: Running, job: JobRead, tmp_path: Path
) -> None:
    order = guest.claim(job.id)
    saved = output(guest, order, tmp_path, "checkpoint.onnx", ArtifactKind.CHECKPOINT)
    guest.control.checkpoint(order.token, Checkpoint(passes=(facts.pass_report(),), output=saved))
    for number in range(2):
        state = output(guest, order, tmp_path, f"state-{number}", ArtifactKind.LEARNING_STATE)
        guest.control.save_learning(order.token, LearningState(output=state))
    with pytest.raises(Refused, match="wrong_result"):
        guest.control.save_learning(order.token, LearningState(output=saved))
    query(bare, "update steps set lease_until = now() - interval '1 second' where id = %s", order.step_id)
    until(lambda: client.jobs.get(job.id).steps[0].state is StepState.QUEUED)
    again = guest.claim(job.id)
    assert [given.filename for given in again.inputs[-2:]] == ["checkpoint.onnx", "state-1"]
    next_saved = output(guest, again, tmp_path, "next.onnx", ArtifactKind.CHECKPOINT)
    guest.control.checkpoint(again.token, Checkpoint(passes=(facts.pass_report(),) * 2, output=next_saved))
    roles = query(bare, "select kind, name from artifacts where job_id = %s", job.id)
    assert roles == [("checkpoint", "next.onnx")]


def test_cancelling_a_queued_job_ends_it_at_once(client: Client, guest: Guest, job: JobRead) -> None:
    assert client.jobs.cancel(job.id).state is JobState.CANCELLED
    with pytest.raises(IndexError):
        guest.claim(job.id)
    with pytest.raises(JobFailed, match="cancelled"):
        client.jobs.wait(job.id)


def test_cancelling_a_running_job_asks_its_worker(client: Client, guest: Guest, job: JobRead) -> None:
    order = guest.claim(job.id)
    assert client.jobs.cancel(job.id).state is JobState.CANCELLING
    assert client.jobs.cancel(job.id).state is JobState.CANCELLING
    assert guest.control.heartbeat(order.token, Heartbeat()).cancel
    gone = Failure(code=FailureCode.INTERNAL_ERROR, message="cancelled")
    guest.control.fail(order.token, Fail(failure=gone, cancelled=True))
    row = client.jobs.get(job.id)
    assert (row.state, row.steps[0].state) == (JobState.CANCELLED, StepState.CANCELLED)


def test_a_job_is_cancelled_even_if_its_worker_is_lost(client: Client, guest: Guest, job: JobRead) -> None:
    guest.claim(job.id)
    client.jobs.cancel(job.id)
    until(lambda: client.jobs.get(job.id).state is JobState.CANCELLED, LEASE_SECONDS + 5)
    assert [step.state for step in client.jobs.get(job.id).steps] == [StepState.CANCELLED]


def test_a_step_that_finishes_while_it_is_cancelled_starts_nothing_new(
    client: Client, guest: Guest, job: JobRead, tmp_path: Path
) -> None:
    order = guest.claim(job.id)
    client.jobs.cancel(job.id)
    finish_optimize(guest, order, tmp_path)
    row = client.jobs.get(job.id)
    assert row.state is JobState.CANCELLED
    assert len(row.steps) == 1


def test_events_can_be_taken_up_again_anywhere(client: Client, guest: Guest, job: JobRead) -> None:
    order = guest.claim(job.id)
    for part in (0.25, 0.5, 0.75):
        guest.control.heartbeat(order.token, Heartbeat(progress=part, logs=("a line",)))
    client.jobs.cancel(job.id)
    gone = Failure(code=FailureCode.INTERNAL_ERROR, message="cancelled")
    guest.control.fail(order.token, Fail(failure=gone, cancelled=True))
    events = list(client.jobs.events(job.id))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[0].kind is EventKind.JOB_QUEUED
    assert events[-1].kind is EventKind.JOB_FINISHED
    assert [event.progress for event in events if event.kind is EventKind.STEP_PROGRESS] == [0.25, 0.5, 0.75]
    for after in range(len(events)):
        assert list(client.jobs.events(job.id, after)) == events[after:]


def test_events_come_as_they_happen(client: Client, guest: Guest, job: JobRead) -> None:
    stream = client.stream_events(job.id, after=0)
    assert next(stream).kind is EventKind.JOB_QUEUED
    assert next(stream).kind is EventKind.STEP_QUEUED
    order = guest.claim(job.id)
    assert next(stream).kind is EventKind.JOB_STARTED
    assert next(stream).kind is EventKind.STEP_STARTED
    guest.control.heartbeat(order.token, Heartbeat(progress=0.5))
    assert next(stream).progress == 0.5
    stream.close()


def test_another_tenants_job_does_not_exist(
    client: Client, bare: Running, guest: Guest, job: JobRead, tmp_path: Path
) -> None:
    finish_optimize(guest, guest.claim(job.id), tmp_path)
    artifact = client.jobs.artifacts(job.id)[0]
    with Client(bare.url, new_tenant(bare)) as stranger:
        for path in ("", "/events", "/report", "/report.html", "/artifacts"):
            with pytest.raises(NotFound):
                stranger.request("GET", f"/v1/jobs/{job.id}{path}")
        with pytest.raises(NotFound):
            stranger.jobs.cancel(job.id)
        for path in ("", "/content"):
            with pytest.raises(NotFound):
                stranger.request("GET", f"/v1/artifacts/{artifact.id}{path}")


def test_downloads_understand_ranges(client: Client, guest: Guest, job: JobRead, tmp_path: Path) -> None:
    finish_optimize(guest, guest.claim(job.id), tmp_path)
    artifact = client.jobs.artifacts(job.id)[0]
    path = f"/v1/artifacts/{artifact.id}/content"
    whole = client.request("GET", path)
    assert whole.headers["etag"] == f'"{artifact.sha256}"'
    part = client.request("GET", path, headers={"Range": "bytes=3-6"})
    assert (part.status_code, part.content) == (206, whole.content[3:7])
    changed = client.request("GET", path, headers={"Range": "bytes=3-6", "If-Range": '"another"'})
    assert changed.status_code == 200


@pytest.mark.parametrize("token", ["nonsense", "step"])
def test_the_worker_protocol_takes_only_its_own_tokens(bare: Running, guest: Guest, job: JobRead, token: str) -> None:
    order = guest.claim(job.id)
    if token == "step":
        token = guest.token(order.step_id)  # good for claiming, and for nothing else
    for path in ("heartbeat", "uploads", "checkpoint", "finish", "fail"):
        body = {
            "heartbeat": Heartbeat(),
            "uploads": ghost_request(),
            "checkpoint": Checkpoint(passes=(), output=ghost_output()),
            "finish": Finish(result=ReportMade()),
            "fail": Fail(failure=Failure(code=FailureCode.INTERNAL_ERROR, message="x")),
        }[path]
        answer = httpx.post(
            f"{bare.url}/v1/worker/{path}",
            content=body.model_dump_json(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


def ghost_output() -> OutputFile:
    return OutputFile(name="a", kind=ArtifactKind.CHECKPOINT, media_type=MODEL_FILE, sha256="0" * 64, size=14)
