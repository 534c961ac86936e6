"""What holds for every route: repetitions, conditional requests, ids, limits, compression."""

import asyncio
import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest

from app.core.database import create_engine, plain_url, sessions
from app.core.scope import any_tenant
from app.embedded import service as embedded
from app.embedded.processes import Process
from app.embedded.service import Running
from app.identity import once
from tests.service import facts
from tests.service.actors import Guest, new_tenant, query, upload
from tests.service.conftest import QUICK, data_folder
from whetstone.client import Client
from whetstone.contract.jobs import ArtifactKind, JobSpec
from whetstone.contract.models import ModelRead
from whetstone.contract.steps import Finish, Optimized, OutputFile

ORIGIN = "https://pages.example"


@pytest.fixture
def raw(bare: Running, client: Client) -> Iterator[httpx.Client]:
    """The same caller as `client`, without its help."""
    with httpx.Client(base_url=bare.url, headers={"Authorization": client._http.headers["authorization"]}) as http:
        yield http


@pytest.fixture
def model(client: Client, guest: Guest, tmp_path: Path) -> ModelRead:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    return guest.model(client, path)


@pytest.fixture(scope="module")
def strict() -> Iterator[Running]:
    """A service with low limits that one web page may call."""
    tight = {"WHETSTONE_RATES__REQUESTS": "4", "WHETSTONE_RATES__LOGINS": "2"}
    tight |= {"WHETSTONE_CORS_ORIGINS": json.dumps([ORIGIN])}
    with data_folder() as folder, embedded.running(folder, "127.0.0.1", 0, worker=False, **(QUICK | tight)) as running:
        yield running


def order(raw: httpx.Client, spec: JobSpec, key: str) -> httpx.Response:
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    return raw.post("/v1/jobs", content=spec.model_dump_json(exclude_none=True), headers=headers)


def test_a_repeated_request_is_carried_out_once(raw: httpx.Client, client: Client, model: ModelRead) -> None:
    key, spec = str(uuid.uuid4()), facts.spec(model.id)
    first, second = order(raw, spec, key), order(raw, spec, key)
    assert first.status_code == second.status_code == 202
    assert first.content == second.content
    assert first.headers["content-type"] == second.headers["content-type"]
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert len(list(client.jobs.list())) == 1


def test_a_key_stands_for_one_request_of_one_caller(
    raw: httpx.Client, bare: Running, client: Client, guest: Guest, model: ModelRead, tmp_path: Path
) -> None:
    key = str(uuid.uuid4())
    assert order(raw, facts.spec(model.id), key).status_code == 202
    other = order(raw, facts.spec(model.id, name="another"), key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    with Client(bare.url, new_tenant(bare)) as stranger:
        path = tmp_path / "own.onnx"
        path.write_bytes(b"own")
        spec = facts.spec(guest.model(stranger, path).id)
        headers = {"Authorization": stranger._http.headers["authorization"], "Idempotency-Key": key}
        answer = raw.post("/v1/jobs", json=spec.model_dump(mode="json"), headers=headers)
        assert answer.status_code == 202
        assert "idempotency-replayed" not in answer.headers
    assert len(list(client.jobs.list())) == 1


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
def test_what_is_no_key(raw: httpx.Client, model: ModelRead, key: str) -> None:
    answer = order(raw, facts.spec(model.id), key)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_idempotency_key")


def test_many_at_once_make_one(raw: httpx.Client, client: Client, model: ModelRead) -> None:
    key, spec, start = str(uuid.uuid4()), facts.spec(model.id), threading.Barrier(8)

    def send(_: int) -> httpx.Response:
        start.wait()
        return order(raw, spec, key)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    made = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    refused = {answer.json()["code"] for answer in answers if answer.status_code != 202}
    assert len(made) == 1
    assert refused <= {"idempotency_in_progress"}
    assert len(list(client.jobs.list())) == 1


def test_a_key_whose_holder_dies_is_free(raw: httpx.Client, bare: Running, client: Client, model: ModelRead) -> None:
    use = once.Use(client.me().tenant_id, str(uuid.uuid4()), b"")
    with psycopg.connect(plain_url(bare.owner_url)) as holder:
        holder.execute("select pg_advisory_xact_lock(%s)", (use.lock,))
        busy = order(raw, facts.spec(model.id), use.key)
        assert (busy.status_code, busy.json()["code"]) == (409, "idempotency_in_progress")
        assert busy.headers["retry-after"] == "1"
        query(bare, "select pg_terminate_backend(%s)", holder.info.backend_pid)
        with pytest.raises(psycopg.OperationalError):
            holder.execute("select 1")
    assert order(raw, facts.spec(model.id), use.key).status_code == 202


def test_a_refused_request_may_be_repeated(raw: httpx.Client, client: Client, guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    row, key = upload(client, "/v1/models", path, ModelRead), str(uuid.uuid4())
    assert order(raw, facts.spec(row.id), key).json()["code"] == "not_ready"
    guest.model(client, path)  # the same content, ready
    ready = guest.model(client, path)
    assert order(raw, facts.spec(ready.id), key).status_code == 202


def test_answers_are_kept_a_day_and_sealed(raw: httpx.Client, bare: Running, client: Client, model: ModelRead) -> None:
    key, tenant = str(uuid.uuid4()), client.me().tenant_id
    job = order(raw, facts.spec(model.id), key).json()["id"]
    stored = query(bare, "select body from stored_answers where tenant_id = %s and key = %s", tenant, key)[0][0]
    assert job.encode() not in bytes(stored)
    age = "update stored_answers set created_at = now() - interval '%s hours' where tenant_id = %%s"
    query(bare, age % 23, tenant)
    assert order(raw, facts.spec(model.id), key).json()["id"] == job
    query(bare, age % 25, tenant)
    assert order(raw, facts.spec(model.id), key).json()["id"] != job
    query(bare, age % 25, tenant)

    async def sweep() -> int:
        engine = create_engine(bare.environment["WHETSTONE_DATABASE_URL"], 1)
        with any_tenant():
            async with sessions(engine).begin() as session:
                swept = await once.sweep(session)
        await engine.dispose()
        return swept

    assert asyncio.run(sweep()) >= 1
    assert query(bare, "select 1 from stored_answers where tenant_id = %s", tenant) == []


def test_a_repeated_upload_makes_one_model(raw: httpx.Client, client: Client, guest: Guest, stored_files: Path) -> None:
    def send(content: bytes, key: str) -> httpx.Response:
        headers = {"Idempotency-Key": key, "Content-Type": "application/octet-stream"}
        return raw.post("/v1/models", params={"filename": "m.onnx"}, content=content, headers=headers)

    key = str(uuid.uuid4())
    first, second = send(b"model", key), send(b"model", key)
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert send(b"other", key).json()["code"] == "idempotency_key_reused"
    assert len(list(client.models.list())) == 1
    assert guest.claim(first.json()["id"])
    folder = stored_files / client.me().tenant_id
    doomed = [path for path in folder.iterdir() if path.read_bytes() != b"other"]
    assert len(doomed) == 1


def test_a_read_that_is_known_is_not_sent_again(raw: httpx.Client, client: Client, model: ModelRead) -> None:
    first = raw.get(f"/v1/models/{model.id}", headers={"Accept-Encoding": "identity"})
    tag = first.headers["etag"]
    again = raw.get(f"/v1/models/{model.id}", headers={"If-None-Match": f'"x", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    client.jobs.submit(facts.spec(model.id))
    jobs = raw.get("/v1/jobs", headers={"If-None-Match": raw.get("/v1/jobs").headers["etag"]})
    assert jobs.status_code == 304
    client.jobs.submit(facts.spec(model.id))
    assert raw.get("/v1/jobs", headers={"If-None-Match": jobs.headers["etag"]}).status_code == 200


def test_a_change_of_what_was_not_read_is_refused(raw: httpx.Client, model: ModelRead) -> None:
    wrong = raw.delete(f"/v1/models/{model.id}", headers={"If-Match": '"0123"'})
    assert (wrong.status_code, wrong.json()["code"]) == (412, "changed_meanwhile")
    tag = raw.get(f"/v1/models/{model.id}").headers["etag"]
    assert raw.delete(f"/v1/models/{model.id}", headers={"If-Match": tag}).status_code == 204


def test_json_is_compressed_and_its_tag_differs(raw: httpx.Client, client: Client, model: ModelRead) -> None:
    url = f"/v1/jobs/{client.jobs.submit(facts.spec(model.id)).id}"
    plain = raw.get(url, headers={"Accept-Encoding": "identity"})
    small = raw.get(url, headers={"Accept-Encoding": "gzip"})
    assert len(plain.content) > 1024
    assert small.headers["content-encoding"] == "gzip"
    assert int(small.headers["content-length"]) < len(plain.content)
    assert small.content == plain.content
    assert small.headers["etag"] == f'{plain.headers["etag"][:-1]}-gzip"'
    assert raw.get(url, headers={"If-None-Match": small.headers["etag"]}).status_code == 304


def test_events_and_files_are_not_compressed(raw: httpx.Client, client: Client, guest: Guest, model: ModelRead) -> None:
    job = client.jobs.submit(facts.spec(model.id))
    with raw.stream("GET", f"/v1/jobs/{job.id}/events", headers={"Accept-Encoding": "gzip"}) as answer:
        assert next(answer.iter_raw()).startswith(b"event: job.queued")
        assert "content-encoding" not in answer.headers
    link = guest.claim(job.id).inputs[0].url
    answer = raw.get(link, headers={"Accept-Encoding": "gzip"})
    assert answer.content == b"a model"
    assert "content-encoding" not in answer.headers


def test_a_file_of_json_is_a_file(
    raw: httpx.Client, client: Client, guest: Guest, model: ModelRead, tmp_path: Path
) -> None:
    job = client.jobs.submit(facts.spec(model.id))
    order = guest.claim(job.id)
    path = tmp_path / "report.json"
    path.write_bytes(b'{"a": 1}' * 500)
    stored = guest.control.upload(order.token, path)
    made = OutputFile(name=path.name, kind=ArtifactKind.MODEL, media_type="application/json", **dict(stored))
    guest.control.finish(order.token, Finish(result=Optimized(passes=()), outputs=(made,)))
    url = f"/v1/artifacts/{client.jobs.artifacts(job.id)[0].id}/content"
    answer = raw.get(url, headers={"Accept-Encoding": "identity"})
    assert answer.content == path.read_bytes()
    assert answer.headers["etag"] == f'"{stored.sha256}"'
    assert raw.get(url, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    part = raw.get(url, headers={"Range": "bytes=0-3", "Accept-Encoding": "gzip"})
    assert (part.status_code, part.content) == (206, b'{"a"')
    whole = raw.get(url, headers={"Accept-Encoding": "gzip"})
    assert whole.content == path.read_bytes()
    assert "content-encoding" not in whole.headers


def test_every_answer_has_a_request_id(raw: httpx.Client, bare: Running) -> None:
    ours, bad = "trace:1234.abc-DEF_5", "no spaces allowed"
    answer = raw.get("/v1/jobs/job_01h455vb4pex5vsknk084sn02q", headers={"X-Request-Id": ours})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == ours
    assert raw.get("/v1/me", headers={"X-Request-Id": bad}).headers["x-request-id"].startswith("req_")
    log = Path(bare.environment["WHETSTONE_STORAGE_URL"].removeprefix("file://")).parent / "logs" / "api.log"
    lines = [json.loads(line) for line in log.read_text().splitlines() if ours in line]
    assert lines[0]["route"] == "/v1/jobs/{job_id}"
    assert lines[0]["status"] == 404
    assert lines[0]["tenant_id"].startswith("ten_")


def test_a_large_body_is_refused(raw: httpx.Client) -> None:
    answer = raw.post(
        "/v1/jobs", content=b'{"a":"' + b"x" * 3_000_000 + b'"}', headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    keyed = raw.post("/v1/jobs", content=b"x" * 3_000_000, headers={"Idempotency-Key": "a"})
    assert (keyed.status_code, keyed.json()["code"]) == (413, "body_too_large")
    chunked = raw.post("/v1/jobs", content=iter([b"x" * 1_500_000] * 2), headers={"Content-Type": "application/json"})
    assert (chunked.status_code, chunked.json()["code"]) == (413, "body_too_large")


def test_web_pages_may_call_only_where_the_operator_says(raw: httpx.Client, strict: Running) -> None:
    asking = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in raw.options("/v1/jobs", headers=asking).headers
    answer = httpx.options(f"{strict.url}/v1/jobs", headers=asking)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    other = httpx.options(f"{strict.url}/v1/jobs", headers=asking | {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_requests_and_logins_are_limited(strict: Running) -> None:
    with httpx.Client(base_url=strict.url, headers={"Authorization": f"Bearer {new_tenant(strict)}"}) as caller:
        answers = [caller.get("/v1/me") for _ in range(10)]  # two windows at most
        statuses = [answer.status_code for answer in answers]
        assert statuses[0] == 200
        assert 429 in statuses
        assert answers[0].headers["ratelimit-policy"] == '"requests";q=4;w=60'
        assert answers[0].headers["ratelimit"].startswith('"requests";r=3;t=')
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["code"] == "too_many_requests"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert ";r=0;" in refused.headers["ratelimit"]
    login = {"email": "someone@example.com", "password": "wrong"}
    codes = [httpx.post(f"{strict.url}/v1/login", json=login).status_code for _ in range(6)]
    assert set(codes) == {401, 429}


def test_without_the_broker_nobody_is_refused(strict: Running) -> None:
    broker = _part(strict, "valkey")
    broker.stop()
    try:
        with httpx.Client(base_url=strict.url, headers={"Authorization": f"Bearer {new_tenant(strict)}"}) as caller:
            answers = [caller.get("/v1/me") for _ in range(8)]
        assert {answer.status_code for answer in answers} == {200}
        assert "ratelimit" not in answers[0].headers
        folder = Path(strict.environment["WHETSTONE_STORAGE_URL"].removeprefix("file://")).parent
        assert "requests are not limited" in (folder / "logs" / "api.log").read_text()
    finally:
        broker.start()


def _part(service: Running, name: str) -> Process:
    return next(process for process in service.processes if process.name == name)
