"""Every change leaves one line, whoever makes it and however; what was refused leaves none; no line is ever changed."""

import csv
import json
import tempfile
from pathlib import Path

import httpx
import psycopg
import pytest

from app.core.database import plain_url
from app.embedded.service import Running
from tests.service import facts
from tests.service.actors import PASSWORD, Guest, new_tenant, query, upload
from tests.service.doors import OPEN, Door, bodies, doors
from tests.service.isolation import settle
from whetstone.accounts import join, log_in
from whetstone.client import Client
from whetstone.contract.audit import ExportForm
from whetstone.contract.identity import Role, Scope
from whetstone.contract.models import ModelRead
from whetstone.contract.webhooks import WebhookChange
from whetstone.errors import ApiError, Forbidden

READS = {"POST /v1/jobs/estimate", "POST /v1/retention/preview"}
NOT_A_TENANTS = ("/v1/worker/", "/v1/files/")
UPLOADS = {"POST /v1/models", "POST /v1/datasets"}


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"weights")
    return path


def lines_of(service: Running, tenant_id: str) -> int:
    return int(query(service, "select count(*) from audit_entries where tenant_id = %s", tenant_id)[0][0])


def carry_out(http: httpx.Client, door: Door, ids: dict[str, str]) -> httpx.Response:
    if str(door) in UPLOADS:
        return http.post(door.path, params={"filename": "x.onnx"}, content=b"bytes")
    body = next(bodies(door, ids)) if door.has_body else None
    return http.request(door.method, door.url(ids), json=body)


def test_every_route_that_changes_something_leaves_one_line(bare: Running) -> None:
    key = new_tenant(bare)
    with tempfile.TemporaryDirectory() as folder, Client(bare.url, key) as client:
        estate = settle(bare, client, Path(folder))
        ids = estate.ids | {"key_id": client.keys.create("to be revoked").id}
    changing = [door for door in doors(bare) if door.method != "GET" and not door.path.startswith(NOT_A_TENANTS)]
    tried = [door for door in changing if str(door) not in OPEN]
    done = set()
    with httpx.Client(base_url=bare.url, headers={"Authorization": f"Bearer {key}"}) as http:
        for door in sorted(tried, key=lambda door: door.method == "DELETE"):
            before = lines_of(bare, estate.tenant_id)
            answer = carry_out(http, door, ids)
            changed = answer.is_success and str(door) not in READS
            assert lines_of(bare, estate.tenant_id) - before == changed, f"{door} answered {answer.status_code}"
            done |= {str(door)} if changed else set()
    assert len(done) >= 15, done


def test_a_line_says_who_what_when_and_from_where(client: Client, guest: Guest, model_path: Path) -> None:
    me = client.me()
    model = guest.model(client, model_path)
    job = client.jobs.submit(facts.spec(model.id))
    submitted, uploaded = client.audit.list()
    assert (submitted.action, submitted.subject) == ("submit_job", job.id)
    assert (uploaded.action, uploaded.subject) == ("upload_model", model.id)
    assert (submitted.user_id, submitted.key_id) == (me.user_id, me.key_id)
    assert submitted.at >= job.created_at
    assert submitted.address == "127.0.0.1"
    assert submitted.agent.startswith("python-httpx")
    assert client.audit.get(submitted.id) == submitted


def test_a_change_of_settings_tells_what_was_changed(client: Client) -> None:
    webhook = client.webhooks.create("https://example.com/")
    client.webhooks.change(webhook.id, WebhookChange(description="new"))
    changed = next(client.audit.list(action="change_webhook"))
    assert changed.details == {"description": "new"}
    assert next(client.audit.list(action="create_webhook")).details is None


def test_what_was_refused_or_repeated_leaves_no_line(client: Client, guest: Guest, model_path: Path) -> None:
    model = guest.model(client, model_path)
    with pytest.raises(ApiError):
        client.jobs.submit(facts.spec("mdl_01h455vb4pex5vsknk084sn02q"))
    order = facts.spec(model.id)
    headers = {"Idempotency-Key": "once"}
    first, second = (client.request("POST", "/v1/jobs", order, headers=headers).json() for _ in range(2))
    assert first == second
    assert [entry.subject for entry in client.audit.list(action="submit_job")] == [first["id"]]


def test_logging_in_and_joining_are_changes_too(bare: Running, client: Client) -> None:
    me = client.me()
    email = client.members.get(me.user_id).email
    made = log_in(bare.url, email, PASSWORD, "laptop")
    session = httpx.post(f"{bare.url}/v1/sessions", json={"email": email, "password": PASSWORD}).json()
    token = client.invitations.create("guest@example.com", Role.VIEWER).token
    joined = join(bare.url, token, "a password of mine")
    found = {entry.action: (entry.user_id, entry.subject) for entry in client.audit.list()}
    assert found["login"] == (me.user_id, made.id)
    assert found["sign_in"] == (me.user_id, session["id"])
    assert found["accept_invitation"] == (joined.id, joined.id)


def test_the_log_is_filtered_and_for_admins_only(bare: Running, client: Client, model_path: Path) -> None:
    model = upload(client, "/v1/models", model_path, ModelRead)
    entry = next(client.audit.list(subject=model.id))
    assert list(client.audit.list(until=entry.at)) == []
    assert entry in client.audit.list(since=entry.at, user_id=entry.user_id)
    member = client.keys.create("program", frozenset({Scope.READ, Scope.WRITE})).secret
    with Client(bare.url, member) as other, pytest.raises(Forbidden):
        next(other.audit.list())


def test_the_export_has_every_line(client: Client, tmp_path: Path) -> None:
    client.webhooks.create("https://example.com/", description="one")
    client.request("POST", "/v1/keys", headers={"User-Agent": '=HYPERLINK("x")'}, json={"name": "two"})
    listed = [entry.model_dump(mode="json") for entry in client.audit.list()]
    lines = client.audit.export(tmp_path / "audit.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == listed
    with client.audit.export(tmp_path / "audit.csv", ExportForm.CSV).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [entry["id"] for entry in listed]
    assert rows[0]["agent"] == '\'=HYPERLINK("x")'  # a spreadsheet must not run it


@pytest.mark.parametrize("role", ["whetstone_app", "whetstone_any_tenant"])
@pytest.mark.parametrize(
    "statement", ["update audit_entries set action = 'x'", "delete from audit_entries", "truncate audit_entries"]
)
def test_no_line_is_changed_or_deleted_by_the_service(bare: Running, role: str, statement: str) -> None:
    with psycopg.connect(plain_url(bare.environment["WHETSTONE_DATABASE_URL"])) as connection:
        connection.execute("select set_config('role', %s, true)", (role,))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)
