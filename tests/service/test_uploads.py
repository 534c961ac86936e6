"""Uploading and what is refused at the door."""

import contextlib
import io
import socket
import time
import zipfile
from pathlib import Path

import httpx
import pytest

from app.embedded.service import Running
from tests.service import facts
from tests.service.actors import Guest, new_tenant, query, upload
from tests.service.conftest import UPLOAD_LIMIT
from whetstone.client import Client
from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.models import InspectionState, ModelRead
from whetstone.contract.steps import Fail, Finish, Heartbeat, ModelInspected
from whetstone.errors import Conflict, Invalid, NotFound, Unauthorized, UploadRejected


def torch_archive() -> bytes:
    """What torch.save writes, as far as its first member tells."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}q\x00.")
    return memory.getvalue()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"\x80\x04\x95\x10\x00", "unsafe_file"),
        (torch_archive(), "unsafe_file"),
        (b"\x7fELF" + b"\0" * 600, "unsupported_format"),
    ],
)
def test_what_cannot_be_used_is_refused_at_the_door(
    client: Client, bare: Running, stored_files: Path, tmp_path: Path, content: bytes, code: str
) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(Invalid) as refused:
        upload(client, "/v1/models", path, ModelRead)
    assert refused.value.code == code
    assert refused.value.problem.hint or code == "empty_file"
    tenant = client.me().tenant_id
    assert not list((stored_files / tenant).glob("*")) if (stored_files / tenant).exists() else True
    assert list(client.models.list()) == []
    assert httpx.get(f"{bare.url}/readyz").status_code == 200


def test_too_large_an_upload_is_cut_off_and_leaves_nothing(client: Client, stored_files: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x08" * (UPLOAD_LIMIT // 2 + 1))
    with pytest.raises(Invalid) as refused:
        upload(client, "/v1/models", path, ModelRead)
    assert refused.value.code == "upload_too_large"
    assert not list((stored_files / client.me().tenant_id).glob("*"))


def test_the_file_is_kept_once_and_goes_with_its_last_owner(
    client: Client, bare: Running, guest: Guest, stored_files: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the same bytes" * 1000)
    first, second = guest.model(client, path), guest.model(client, path)
    assert first.id != second.id
    assert first.sha256 == second.sha256
    keys = query(bare, "select key from files where tenant_id = %s", client.me().tenant_id)
    assert len(keys) == 1
    client.models.delete(first.id)
    assert client.models.get(second.id).sha256 == second.sha256
    assert (stored_files / keys[0][0]).exists()
    client.models.delete(second.id)
    assert query(bare, "select key from files where tenant_id = %s", client.me().tenant_id) == []
    doomed = query(bare, "select key from doomed_objects where key like %s", f"{client.me().tenant_id}/%")
    assert keys[0] in doomed


def test_lists_come_in_pages(client: Client, bare: Running, tmp_path: Path) -> None:
    made = []
    for number in range(5):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(b"model" * (number + 1))
        made.append(upload(client, "/v1/models", path, ModelRead).id)
    page = client.request("GET", "/v1/models", params={"limit": 2}).json()
    assert [row["id"] for row in page["items"]] == made[:2:-1]
    rest = client.request("GET", "/v1/models", params={"limit": 3, "cursor": page["next_cursor"]}).json()
    assert [row["id"] for row in rest["items"]] == made[2::-1]
    assert rest["next_cursor"] is None
    assert [row.id for row in client.models.list()] == made[::-1]
    with pytest.raises(Invalid) as refused:
        client.request("GET", "/v1/models", params={"cursor": "ÿ"})
    assert refused.value.code == "invalid_cursor"
    assert bare.url


def test_another_tenants_model_does_not_exist(client: Client, bare: Running, guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"secret")
    model = guest.model(client, path)
    with Client(bare.url, new_tenant(bare)) as stranger:
        with pytest.raises(NotFound):
            stranger.models.get(model.id)
        with pytest.raises(NotFound):
            stranger.models.delete(model.id)
        with pytest.raises(NotFound):
            stranger.jobs.submit(facts.spec(model.id))
        assert list(stranger.models.list()) == []
    assert client.models.get(model.id) == model


def test_a_wrong_key_is_unauthorized(bare: Running) -> None:
    with Client(bare.url, "whet_wrong") as nobody, pytest.raises(Unauthorized):
        nobody.me()
    assert httpx.get(f"{bare.url}/v1/me").status_code == 401


def test_waiting_for_the_inspection_ends_when_it_does(client: Client, guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    row = upload(client, "/v1/models", path, ModelRead)
    began = time.monotonic()
    assert client.models.get(row.id, wait=1).state is InspectionState.INSPECTING
    assert time.monotonic() - began > 0.5
    assert guest.claim(row.id).inputs[0].sha256 == row.sha256


def test_a_rejected_model_says_why_and_cannot_be_used(client: Client, guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    row = upload(client, "/v1/models", path, ModelRead)
    failure = Failure(code=FailureCode.INVALID_MODEL, message="It is no model.", hint="Upload one.")
    guest.control.fail(guest.claim(row.id).token, Fail(failure=failure))
    rejected = client.models.get(row.id)
    assert rejected.state is InspectionState.REJECTED
    assert rejected.failure is not None
    assert rejected.failure.code is FailureCode.INVALID_MODEL
    with pytest.raises(Conflict) as refused:
        client.jobs.submit(facts.spec(row.id))
    assert refused.value.code == "rejected"
    assert "It is no model." in str(UploadRejected(rejected.failure))


def test_a_model_deleted_while_it_is_inspected(client: Client, guest: Guest, tmp_path: Path) -> None:
    waiting, running = tmp_path / "waiting.onnx", tmp_path / "running.onnx"
    waiting.write_bytes(b"one model")
    running.write_bytes(b"another model")
    row = upload(client, "/v1/models", waiting, ModelRead)
    client.models.delete(row.id)
    with pytest.raises(IndexError):
        guest.claim(row.id)
    row = upload(client, "/v1/models", running, ModelRead)
    order = guest.claim(row.id)
    client.models.delete(row.id)
    assert guest.control.heartbeat(order.token, Heartbeat()).cancel
    guest.control.finish(order.token, Finish(result=ModelInspected(facts=facts.MODEL)))
    with pytest.raises(NotFound):
        client.models.get(row.id)


def test_an_upload_that_breaks_off_leaves_nothing(bare: Running, client: Client, stored_files: Path) -> None:
    with socket.create_connection(("127.0.0.1", int(bare.url.rpartition(":")[2]))) as wire:
        head = (
            "POST /v1/models?filename=model.onnx HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n"
            f"Content-Type: application/octet-stream\r\n{_authorization(client)}\r\n\r\n"
        )
        wire.sendall(head.encode() + b"\x08" * 8_000_000)
        time.sleep(0.5)
        folder = stored_files / client.me().tenant_id
        assert list(folder.glob("*"))
    end = time.monotonic() + 10
    while list(folder.glob("*")):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert list(client.models.list()) == []


def _authorization(client: Client) -> str:
    return f"Authorization: {client._http.headers['authorization']}"


def test_many_open_streams_hold_no_database_connection(client: Client, guest: Guest, tmp_path: Path) -> None:
    """More than the pool has connections."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    job = client.jobs.submit(facts.spec(guest.model(client, path).id))
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            stream = client.stream_events(job.id, after=0)
            stack.callback(stream.close)
            assert next(stream).seq == 1
        assert client.jobs.get(job.id).id == job.id


def test_a_model_that_a_job_uses_cannot_be_deleted(client: Client, guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    model = guest.model(client, path)
    client.jobs.submit(facts.spec(model.id))
    with pytest.raises(Conflict) as refused:
        client.models.delete(model.id)
    assert refused.value.code == "still_in_use"
    assert client.models.get(model.id) == model
