"""Uploads and downloads, the same for files in a folder and in a bucket of a real S3-speaking server."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.artifacts import files, transfers
from app.core.database import create_engine, sessions
from app.core.scope import any_tenant
from app.core.signing import Signer
from app.core.storage import (
    PART,
    PartsMissing,
    Storage,
    Transfer,
    UploadTooLarge,
    WrongContent,
    part_size_of,
)
from app.core.storage_choice import open_storage
from app.core.storage_local import LocalStorage
from app.core.storage_s3 import S3Storage
from app.embedded.service import Running
from tests.service import facts
from tests.service.actors import Guest, new_tenant, query, settings_of, upload
from whetstone.client import Client
from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.models import InspectionState, ModelRead
from whetstone.contract.steps import Finish, ModelInspected, Optimized, OutputFile
from whetstone.contract.uploads import UploadState
from whetstone.errors import Conflict, Invalid, NotFound, Unauthorized
from whetstone.uploading import PartRefused, Transfers
from workers.control_plane import WrongContent as FoundWrong

LARGE = PART + 1_000_000  # two parts


@pytest.fixture(params=["folder", "bucket"])
def house(request: pytest.FixtureRequest) -> Running:
    name = {"folder": "bare", "bucket": "bucketed"}[request.param]
    running: Running = request.getfixturevalue(name)
    return running


@pytest.fixture
def storage(house: Running) -> Storage:
    return open_storage(settings_of(house), Signer(house.environment["WHETSTONE_SECRET_KEY"]))


@pytest.fixture
def client(house: Running) -> Iterator[Client]:
    with Client(house.url, new_tenant(house)) as client:
        yield client


@pytest.fixture
def guest(house: Running) -> Iterator[Guest]:
    with Guest(house) as guest:
        yield guest


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.onnx"
    path.write_bytes(os.urandom(LARGE))
    return path


async def chunked(content: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


def swept(house: Running, storage: Storage, tenant_id: str, links_live: timedelta = timedelta()) -> list[str]:
    """What is left of a tenant's objects once everything that is due has been deleted."""

    async def sweep() -> list[str]:
        engine = create_engine(house.environment["WHETSTONE_DATABASE_URL"], 2)
        with any_tenant():
            async with sessions(engine).begin() as session:
                await transfers.sweep(session)
            for _ in range(2):
                async with sessions(engine).begin() as session:
                    await files.sweep(session, storage, links_live, limit=10_000)
        await engine.dispose()
        return [key async for key in storage.keys(f"{tenant_id}/")]

    return asyncio.run(sweep())


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def put(link: Any, content: bytes, **headers: str) -> httpx.Response:
    return httpx.put(link.url, content=content, headers=link.headers | headers, timeout=60)


def test_a_file_goes_in_parts_past_the_api_and_comes_back(
    client: Client, guest: Guest, house: Running, storage: Storage, large: Path, tmp_path: Path
) -> None:
    counted: list[int] = []
    sent = client.uploads.send(large, counted.append)
    assert (sent.state, sent.parts) == (UploadState.COMPLETE, 2)
    assert sum(counted) == LARGE
    row = made_of(client, sent.id, large.name)
    assert list(client.uploads.list()) == []
    order = guest.claim(row.id)
    assert not order.inputs[0].proven  # nobody of the house has seen the bytes yet
    assert order.inputs[0].url.startswith(client.url) == isinstance(storage, LocalStorage)
    guest.control.download(order.inputs[0], tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == large.read_bytes()
    guest.control.finish(order.token, Finish(result=ModelInspected(facts=facts.MODEL)))
    model = client.models.get(row.id)
    assert (model.state, model.sha256, model.size) == (InspectionState.READY, sha256_of(large), LARGE)
    assert query(house, "select proven from files where tenant_id = %s", client.me().tenant_id) == [(True,)]
    assert len(swept(house, storage, client.me().tenant_id)) == 1
    client.models.delete(model.id)
    assert swept(house, storage, client.me().tenant_id) == []


def made_of(client: Client, upload_id: str, filename: str) -> ModelRead:
    params = {"filename": filename, "upload_id": upload_id}
    return ModelRead.model_validate_json(client.request("POST", "/v1/models", params=params).content)


def test_an_upload_that_was_broken_off_is_gone_on_with(client: Client, large: Path) -> None:
    begun = client.uploads.begin(LARGE, sha256_of(large))
    first, second = client.uploads.missing(begun.id)
    assert (second.offset, second.size) == (PART, LARGE - PART)
    assert put(second, large.read_bytes()[PART:]).is_success
    with pytest.raises(Conflict) as refused:
        client.uploads.complete(begun.id)
    assert refused.value.code == "parts_missing"
    assert [part.number for part in client.uploads.missing(begun.id)] == [first.number]
    sent = client.uploads.send(large)
    assert (sent.id, sent.state) == (begun.id, UploadState.COMPLETE)
    assert client.uploads.send(large).id == begun.id
    assert client.uploads.complete(begun.id).state is UploadState.COMPLETE


def test_what_is_sent_must_be_what_was_announced(client: Client, tmp_path: Path) -> None:
    """A small file: the storage itself refuses other bytes, and more or fewer of them."""
    good, bad = b"what was announced", b"something else, ok"
    begun = client.uploads.begin(len(good), hashlib.sha256(good).hexdigest())
    (link,) = client.uploads.missing(begun.id)
    for content in (bad, good + b"!", good[:-1]):
        assert put(link, content).is_client_error
    with pytest.raises(Conflict):
        client.uploads.complete(begun.id)
    assert put(link, good).is_success
    assert client.uploads.complete(begun.id).state is UploadState.COMPLETE
    path = tmp_path / "changing.onnx"
    path.write_bytes(good)
    with pytest.raises(PartRefused):
        _Changing(client).send(path)


class _Changing(Transfers):
    """The file is written to while it is sent."""

    def begin(self, size: int, sha256: str) -> Any:  # noqa: ARG002 - the point of it
        return super().begin(size, hashlib.sha256(b"as it was before").hexdigest())


def test_a_hash_that_is_not_the_files_own_is_found_when_the_file_is_read(
    client: Client, guest: Guest, house: Running, storage: Storage, large: Path, tmp_path: Path
) -> None:
    """Of parts no storage tells the hash of the whole; until it was read, the file stands for no content."""
    lie = hashlib.sha256(b"another file").hexdigest()
    begun = client.uploads.begin(LARGE, lie)
    for link in client.uploads.missing(begun.id):
        assert put(link, large.read_bytes()[link.offset : link.offset + link.size]).is_success
    client.uploads.complete(begun.id)
    row = made_of(client, begun.id, "lie.onnx")
    with pytest.raises(FoundWrong):
        guest.control.download(guest.claim(row.id).inputs[0], tmp_path / "read")
    again = client.uploads.begin(LARGE, lie)
    assert again.state is UploadState.OPEN
    client.models.delete(row.id)
    client.uploads.abort(again.id)
    assert swept(house, storage, client.me().tenant_id) == []


def test_the_same_content_is_kept_once(
    client: Client, guest: Guest, house: Running, storage: Storage, large: Path
) -> None:
    sent = client.uploads.send(large)
    late = made_of(client, sent.id, large.name)
    body = guest.model(client, large)  # as the body of a request: its hash is known at once
    assert client.uploads.begin(LARGE, sha256_of(large)).state is UploadState.COMPLETE
    guest.control.finish(guest.claim(late.id).token, Finish(result=ModelInspected(facts=facts.MODEL)))
    tenant_id = client.me().tenant_id
    assert len(query(house, "select 1 from files where tenant_id = %s", tenant_id)) == 1
    assert len(swept(house, storage, tenant_id)) == 1
    client.models.delete(late.id)
    assert client.models.get(body.id).sha256 == sha256_of(large)
    with Client(house.url, new_tenant(house)) as stranger:
        assert stranger.uploads.begin(LARGE, sha256_of(large)).state is UploadState.OPEN


def test_unsafe_files_are_refused_when_they_are_complete(
    client: Client, house: Running, storage: Storage, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"\x80\x04\x95\x10\x00 and more")
    with pytest.raises(Invalid) as refused:
        client.models.upload(path)
    assert refused.value.code == "unsafe_file"
    assert list(client.uploads.list()) == []
    assert swept(house, storage, client.me().tenant_id) == []
    empty = tmp_path / "empty.onnx"
    empty.touch()
    with pytest.raises(Invalid) as refused:
        client.models.upload(empty)
    assert refused.value.code == "empty_file"


def test_abandoned_uploads_expire_with_their_parts(
    client: Client, house: Running, storage: Storage, large: Path
) -> None:
    begun = client.uploads.begin(LARGE, sha256_of(large))
    first, _second = client.uploads.missing(begun.id)
    assert put(first, large.read_bytes()[:PART]).is_success
    tenant_id = client.me().tenant_id
    assert swept(house, storage, tenant_id) != []
    query(house, "update uploads set expires_at = now() where id = %s", begun.id)
    assert swept(house, storage, tenant_id) == []
    with pytest.raises(NotFound):
        client.uploads.get(begun.id)
    assert query(house, "select 1 from doomed_objects where starts_with(key, %s)", tenant_id) == []


def test_what_a_link_brings_back_goes_again(client: Client, house: Running, storage: Storage) -> None:
    begun, tenant_id = client.uploads.begin(5, hashlib.sha256(b"bytes").hexdigest()), client.me().tenant_id
    (link,) = client.uploads.missing(begun.id)
    client.uploads.abort(begun.id)
    assert swept(house, storage, tenant_id, links_live=timedelta(days=1)) == []
    assert put(link, b"bytes").is_success  # the link lives on
    assert len(swept(house, storage, tenant_id)) == 1  # not due for a second time
    query(house, "update doomed_objects set due_at = now() where starts_with(key, %s)", tenant_id)
    assert swept(house, storage, tenant_id) == []
    assert query(house, "select 1 from doomed_objects where starts_with(key, %s)", tenant_id) == []


def test_a_link_is_for_one_part_one_way_until_it_expires(client: Client, storage: Storage, large: Path) -> None:
    begun = client.uploads.begin(LARGE, sha256_of(large))
    first, second = client.uploads.missing(begun.id)
    content = large.read_bytes()[:PART]
    assert httpx.get(first.url).is_client_error
    assert httpx.put(first.url[:-3] + "xyz", content=content).is_client_error
    assert put(second, content).is_client_error
    short = open_storage_with(storage, seconds=-1 if isinstance(storage, LocalStorage) else 1)
    transfer = Transfer("ten_x/upl_x", begun.sha256, 5, 5)
    link = short.link(transfer, 1)
    if isinstance(storage, S3Storage):
        time.sleep(2.1)
    assert put(link, b"12345").is_client_error


def open_storage_with(storage: Storage, seconds: int) -> Storage:
    storage._url_seconds = seconds  # type: ignore[attr-defined]
    return storage


def test_artifacts_come_from_where_they_lie(client: Client, guest: Guest, storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "mödel 1.onnx"
    path.write_bytes(b"0123456789" * 1000)
    job = client.jobs.submit(facts.spec(guest.model(client, path).id))
    order, made = guest.claim(job.id), tmp_path / "made.onnx"
    made.write_bytes(b"smaller" * 100)
    stored = guest.control.upload(order.token, made)
    assert guest.control.upload(order.token, made) == stored
    output = OutputFile(
        name=path.name, kind=ArtifactKind.MODEL, media_type="x/y", sha256=stored.sha256, size=stored.size
    )
    guest.control.finish(order.token, Finish(result=Optimized(passes=(facts.pass_report(),)), outputs=(output,)))
    (artifact,) = client.jobs.artifacts(job.id)
    assert client.download(artifact, tmp_path / "fetched").read_bytes() == made.read_bytes()
    answer = fetched(client, artifact.id, Range="bytes=0-6")
    assert (answer.status_code, answer.content) == (206, b"smaller")
    assert "filename*=utf-8''m%C3%B6del%201.onnx" in answer.headers["content-disposition"]
    assert answer.headers["content-type"] == "x/y"
    assert fetched(client, artifact.id, **{"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert (client.url in str(answer.url)) == isinstance(storage, LocalStorage)


def fetched(client: Client, artifact_id: str, **headers: str) -> httpx.Response:
    """As a browser or `curl -L` does it."""
    key = client._http.headers["authorization"]
    route = f"{client.url}/v1/artifacts/{artifact_id}/content"
    return httpx.get(route, headers=headers | {"Authorization": key}, follow_redirects=True)


def test_an_upload_is_made_something_of_once_and_only_when_complete(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    begun = client.uploads.begin(7, sha256_of(path))
    with pytest.raises(Conflict) as refused:
        made_of(client, begun.id, "model.onnx")
    assert refused.value.code == "upload_not_complete"
    client.uploads.send(path)
    params = {"filename": "model.onnx", "upload_id": begun.id}
    with pytest.raises(Invalid) as invalid:
        client.request("POST", "/v1/models", params=params, content=b"a body too")
    assert invalid.value.code == "two_files"
    once = {"Idempotency-Key": "the-same"}
    first = client.request("POST", "/v1/models", params=params, headers=once)
    again = client.request("POST", "/v1/models", params=params, headers=once)
    assert again.json()["id"] == first.json()["id"]
    with pytest.raises(NotFound):
        made_of(client, begun.id, "model.onnx")


def test_uploads_are_counted_before_they_come(client: Client, house: Running) -> None:
    with pytest.raises(Invalid) as refused:
        client.uploads.begin(10**12, "0" * 64)
    assert refused.value.code == "upload_too_large"
    assert list(client.uploads.list()) == []
    with Client(house.url, "whet_wrong") as nobody, pytest.raises(Unauthorized):
        nobody.uploads.begin(1, "0" * 64)


async def test_bodies_are_streamed_into_it(client: Client, storage: Storage) -> None:
    tenant_id, content = client.me().tenant_id, os.urandom(LARGE)
    stored = await storage.write(f"{tenant_id}/upl_a", chunked(content), LARGE)
    assert stored.sha256 == hashlib.sha256(content).hexdigest() == await storage.digest(stored.key)
    assert await storage.head(stored.key) == content[:512]
    with pytest.raises(UploadTooLarge):
        await storage.write(f"{tenant_id}/upl_b", chunked(content), LARGE - 1)
    await storage.delete(f"{tenant_id}/upl_b")
    assert [key async for key in storage.keys(f"{tenant_id}/")] == [stored.key]
    await storage.delete(stored.key)
    await storage.delete(stored.key)
    assert [key async for key in storage.keys(f"{tenant_id}/")] == []


def test_a_body_arrives_and_is_inspected(client: Client, guest: Guest, large: Path) -> None:
    row = upload(client, "/v1/models", large, ModelRead)
    assert guest.claim(row.id).inputs[0].proven


async def test_a_transfer_ends_only_when_all_is_there(client: Client, storage: Storage) -> None:
    key = f"{client.me().tenant_id}/upl_c"
    content = os.urandom(LARGE)
    transfer = await storage.begin(Transfer(key, hashlib.sha256(content).hexdigest(), LARGE, part_size_of(LARGE)))
    with pytest.raises(PartsMissing):
        await storage.finish(transfer)
    for number in (2, 1):
        at = transfer.offset(number)
        assert put(storage.link(transfer, number), content[at : at + transfer.length(number)]).is_success
    assert await storage.arrived(transfer) == {1, 2}
    for _ in range(2):
        assert not (await storage.finish(transfer)).proven
    assert await storage.digest(key) == transfer.sha256
    with pytest.raises(WrongContent):
        await storage.finish(Transfer(key, transfer.sha256, LARGE + 1, transfer.part_size, transfer.multipart))
    await storage.delete(key)


async def test_a_server_that_does_not_check_hashes_proves_nothing(bucketed: Running, client: Client) -> None:
    storage = open_storage(settings_of(bucketed), Signer("x"))
    assert isinstance(storage, S3Storage)
    transfer = Transfer(f"{client.me().tenant_id}/upl_d", hashlib.sha256(b"bytes").hexdigest(), 5, 5)
    assert put(storage.link(transfer, 1), b"bytes").is_success
    assert (await storage.finish(transfer)).proven
    storage._checksums = False
    assert not (await storage.finish(transfer)).proven


def test_parts_are_few_and_whole() -> None:
    assert part_size_of(5) == 5
    assert part_size_of(PART) == PART
    for size in (PART + 1, 10**10, 10**13):
        part = part_size_of(size)
        assert part % 2**20 == 0
        assert -(-size // part) <= 1000
