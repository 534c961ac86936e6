"""Models that need a toolkit: brought to a worker that has it, once, or refused with what is missing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typeid import TypeID

from app.embedded.service import Running
from tests.service import facts
from tests.service.actors import Guest, query, until, upload
from whetstone.client import Client
from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.models import InspectionState, ModelRead
from whetstone.contract.steps import Enrol, Fail, Finish, InputRole, ModelInspected, OutputFile
from whetstone.contract.targets import HardwareClass
from whetstone.contract.toolkits import Toolkit
from whetstone.errors import Conflict

MISSING = Failure(
    code=FailureCode.NO_WORKER,
    message="This needs the toolkit `tensorflow`.",
    hint="Upload ONNX.",
    toolkit=Toolkit.TENSORFLOW,
)


@pytest.fixture
def model(client: Client, tmp_path: Path) -> ModelRead:
    path = tmp_path / "model.keras"
    path.write_bytes(b"a model in another form")
    row: ModelRead = upload(client, "/v1/models", path, ModelRead)
    return row


@pytest.fixture
def equipped(bare: Running, guest: Guest) -> Iterator[str]:
    """A worker that lives and has the toolkit."""
    worker_id = str(TypeID(prefix="wrk"))
    guest.control.enrol(
        bare.environment["WHETSTONE_FLEET_TOKEN"],
        Enrol(
            worker_id=worker_id,
            name="equipped",
            hardware=HardwareClass.CPU,
            targets=(),
            toolkits=(Toolkit.TENSORFLOW,),
            version="1",
            cpu="a processor",
            cores=2,
            memory=2**30,
        ),
    )
    yield worker_id
    query(bare, "delete from workers where id = %s", worker_id)


def stored(guest: Guest, token: str, path: Path) -> OutputFile:
    path.write_bytes(b"the same model as ONNX")
    wanted = guest.control.upload(token, path)
    return OutputFile(
        name=path.name, kind=ArtifactKind.MODEL, media_type="application/octet-stream", **wanted.model_dump()
    )


def test_where_no_worker_has_the_toolkit_the_model_is_rejected_with_its_name(
    client: Client, guest: Guest, model: ModelRead
) -> None:
    guest.control.fail(guest.claim(model.id).token, Fail(failure=MISSING))
    row = client.models.get(model.id)
    assert row.state is InspectionState.REJECTED
    assert row.failure is not None
    assert (row.failure.code, row.failure.toolkit) == (FailureCode.NO_WORKER, Toolkit.TENSORFLOW)
    assert row.failure.message == "This needs the toolkit `tensorflow`. No worker that is running has it."
    assert row.failure.hint == "Upload ONNX."


@pytest.mark.usefixtures("equipped")
def test_a_worker_with_the_toolkit_gets_the_step_and_only_once(
    client: Client, guest: Guest, bare: Running, model: ModelRead
) -> None:
    guest.control.fail(guest.claim(model.id).token, Fail(failure=MISSING))
    assert client.models.get(model.id).state is InspectionState.INSPECTING
    sent = query(bare, "select toolkit, state, attempt, max_attempts from steps where subject_id = %s", model.id)
    assert sent == [("tensorflow", "queued", 1, 4)]
    guest.control.fail(guest.claim(model.id).token, Fail(failure=MISSING))  # its toolkit went meanwhile
    row = client.models.get(model.id)
    assert row.state is InspectionState.REJECTED


@pytest.mark.usefixtures("equipped")
def test_jobs_get_what_the_inspection_made_of_the_model(
    client: Client, guest: Guest, model: ModelRead, tmp_path: Path
) -> None:
    guest.control.fail(guest.claim(model.id).token, Fail(failure=MISSING))
    order = guest.claim(model.id)
    made = stored(guest, order.token, tmp_path / "imported.onnx")
    guest.control.finish(order.token, Finish(result=ModelInspected(facts=facts.MODEL), outputs=(made,)))
    row = client.models.get(model.id)
    assert (row.state, row.sha256) == (InspectionState.READY, model.sha256)
    job = client.jobs.submit(facts.spec(model.id, None))
    (given,) = guest.claim(job.id).inputs
    assert (given.role, given.sha256, given.filename) == (InputRole.MODEL, made.sha256, "imported.onnx")
    with pytest.raises(Conflict):
        client.models.delete(model.id)


@pytest.mark.usefixtures("equipped")
def test_both_files_go_with_the_model(
    client: Client, guest: Guest, bare: Running, model: ModelRead, tmp_path: Path
) -> None:
    order = guest.claim(model.id)
    made = stored(guest, order.token, tmp_path / "imported.onnx")
    guest.control.finish(order.token, Finish(result=ModelInspected(facts=facts.MODEL), outputs=(made,)))
    tenant = query(bare, "select tenant_id from models where id = %s", model.id)[0][0]
    client.models.delete(model.id)
    assert query(bare, "select sha256 from files where tenant_id = %s", tenant) == []


def test_a_step_does_not_wait_for_a_worker_that_is_gone(
    client: Client, guest: Guest, bare: Running, equipped: str, model: ModelRead
) -> None:
    guest.control.fail(guest.claim(model.id).token, Fail(failure=MISSING))
    query(bare, "update workers set last_seen_at = now() - interval '2 minutes' where id = %s", equipped)
    query(bare, "update steps set sent_at = now() - interval '1 second' where subject_id = %s", model.id)
    until(lambda: client.models.get(model.id).state is InspectionState.REJECTED)
    failure = client.models.get(model.id).failure
    assert failure is not None
    assert failure.code is FailureCode.NO_WORKER
    assert "toolkits install tensorflow" in (failure.hint or "")
