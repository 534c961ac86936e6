"""Exporting a tenant, and deleting one: everything of it goes, and nothing of another."""

import asyncio
import base64
import hashlib
import json
import os
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from redis import Redis
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.closing import deletion, tasks
from app.closing.broker import BrokerTraces
from app.closing.deletion import Places, SomethingLeft
from app.closing.tables import ClosingRow
from app.core import catalogue
from app.core.broker import Broker
from app.core.database import create_engine, sessions
from app.core.ids import Prefix, new_id
from app.core.scope import any_tenant, tenant
from app.core.signing import Signer
from app.core.storage import PART
from app.core.storage_choice import open_storage
from app.core.tenancy import TenantID
from app.embedded.service import Running
from app.export.service import LEFT_OUT, LINKS, is_secret
from app.provenance import keys
from tests.service.actors import Guest, new_tenant, query, settings_of
from tests.service.isolation import MARK, settle
from tests.service.test_storage import put
from whetstone.client import Client
from whetstone.contract.identity import Role
from whetstone.contract.retention import RetentionRules
from whetstone.contract.steps import RUN_STEP
from whetstone.contract.tenants import SignedReceipt, receipt_bytes
from whetstone.contract.usage import Measure
from whetstone.errors import Forbidden, Invalid, NotFound, Unauthorized

IN_USE = (
    *("users", "api_keys", "audit_entries", "usage_days", "webhooks"),
    *("deliveries", "delivery_attempts", "steps", "outbox"),
)
"""What a service that goes on writes to meanwhile: when a key was used, a message sent again."""


@pytest.fixture(params=["folder", "bucket"])
def house(request: pytest.FixtureRequest) -> Running:
    running: Running = request.getfixturevalue({"folder": "bare", "bucket": "bucketed"}[request.param])
    return running


def places_of(house: Running) -> Places:
    settings = settings_of(house)
    signer = Signer(house.environment["WHETSTONE_SECRET_KEY"])
    return Places(open_storage(settings, signer), BrokerTraces(settings.broker_url, signer), keys.load(settings))


@asynccontextmanager
async def database(house: Running) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    engine = create_engine(house.environment["WHETSTONE_DATABASE_URL"], 2)
    try:
        yield sessions(engine)
    finally:
        await engine.dispose()


def sweep(house: Running, links_live: timedelta = timedelta()) -> None:
    """What the control worker does every minute."""

    async def run() -> None:
        async with database(house) as open_session:
            with any_tenant():
                await tasks.sweep(open_session, places_of(house), links_live)

    asyncio.run(run())


def owned(house: Running) -> list[catalogue.Table]:
    async def find() -> list[catalogue.Table]:
        async with database(house) as open_session, open_session() as session:
            return await catalogue.tables(session)

    return asyncio.run(find())


def rows_of(house: Running, tenant_id: str) -> dict[str, list[Any]]:
    """Everything of a tenant, as the database's owner sees it."""
    found = {}
    for table in owned(house):
        statement = table.rows("select to_jsonb(t)::text").text.replace(":tenant_id", "%(id)s")
        rows = query_named(house, statement, tenant_id)
        found[table.name] = sorted(row for (row,) in rows)
    return found


def query_named(house: Running, statement: str, tenant_id: str) -> list[tuple[Any, ...]]:
    return query(house, statement.replace("%(id)s", "%s"), *[tenant_id] * statement.count("%(id)s"))


def fill(house: Running, client: Client, folder: Path) -> str:
    """One of everything; the tenant's id."""
    folder.mkdir()
    estate = settle(house, client, folder)
    tenant_id, ids = estate.tenant_id, estate.ids
    path = folder / "large.onnx"
    path.write_bytes(os.urandom(PART + 1))
    begun = client.uploads.begin(PART + 1, hashlib.sha256(path.read_bytes()).hexdigest())
    link = next(client.uploads.missing(begun.id))
    assert put(link, path.read_bytes()[: link.size]).is_success
    client.retention.set(RetentionRules(jobs_days=1000))
    client.usage.set_budget(Measure.MINUTES, 10)
    step_id = query(house, "select id from steps where subject_id = %s", ids["job_id"])[0][0]
    envelope = '{"payload": "", "signatures": [{"keyid": "%s", "sig": ""}]}' % ("0" * 64)
    for statement, args in (
        ("insert into manifests values (%s, %s, %s, %s, now())", (step_id, tenant_id, ids["job_id"], envelope)),
        (
            "insert into trials (job_id, number, tenant_id, step_id, state) values (%s, 0, %s, %s, 'running')",
            (ids["job_id"], tenant_id, step_id),
        ),
        ("insert into usage_days values (%s, current_date, 1, 1) on conflict do nothing", (tenant_id,)),
        (
            "insert into emails values (%s, %s, 'a@b.c', 'x', 0, now() + interval '1 day', now() + interval '1 day')",
            (new_id(Prefix.EMAIL), tenant_id),
        ),
        (
            "insert into password_resets values (%s, %s, %s, now(), now() + interval '1 day')",
            (tenant_id.encode(), tenant_id, ids["user_id"]),
        ),
        ("insert into second_factors values (%s, %s, 'x', 0, now(), null)", (ids["user_id"], tenant_id)),
        ("insert into recovery_codes values (%s, %s, %s)", (tenant_id.encode(), tenant_id, ids["user_id"])),
        (
            "insert into external_identities values ('https://example.com', %s, %s, %s, now())",
            (tenant_id, tenant_id, ids["user_id"]),
        ),
        ("insert into doomed_objects values (%s || '/upl_x', now() + interval '1 day')", (tenant_id,)),
    ):
        query(house, statement, *args)
    return tenant_id


def message_for(house: Running, job_id: str) -> None:
    """A message for a step that waits in a queue which no worker reads."""
    with Guest(house) as guest:
        step_id = query(house, "select id from steps where subject_id = %s", job_id)[0][0]
        broker = Broker(house.environment["WHETSTONE_BROKER_URL"])
        broker.send(RUN_STEP, "nobody-reads-this", [step_id, guest.token(step_id)])
        broker.close()


def waiting(house: Running) -> int:
    path = house.environment["WHETSTONE_BROKER_URL"].removeprefix("redis+socket://").partition("?")[0]
    with Redis.from_url(f"unix://{path}?db=0") as redis:
        return int(redis.llen("nobody-reads-this"))


def test_of_a_deleted_tenant_nothing_is_left_and_of_another_everything(house: Running, tmp_path: Path) -> None:
    with Client(house.url, new_tenant(house)) as leaving, Client(house.url, new_tenant(house)) as staying:
        gone_id = fill(house, leaving, tmp_path / "leaving")
        kept_id = fill(house, staying, tmp_path / "staying")
        before = rows_of(house, kept_id)
        filled = rows_of(house, gone_id)
        assert {name for name, rows in filled.items() if not rows} <= {"tenant_closings", "outbox", "stored_answers"}
        for client in (leaving, staying):
            message_for(house, _first_job(client))
        assert waiting(house) == 2
        email = json.loads(filled["users"][0])["email"]
        httpx.post(f"{house.url}/v1/login", json={"email": email, "password": "wrong"})
        closing = leaving.tenant.close("test")
        link = next(leaving.uploads.missing(next(leaving.uploads.list()).id))
        query(house, "update tenant_closings set due_at = now() where tenant_id = %s", gone_id)
        sweep(house, links_live=timedelta(days=1))
        with pytest.raises(Unauthorized):
            leaving.me()
        with pytest.raises(NotFound):
            staying.tenant.receipt(closing.receipt_id)
        left = _names_left(house, gone_id)
        assert left == {"tenants", "tenant_closings"}
        put(link, (tmp_path / "leaving" / "large.onnx").read_bytes()[PART:])  # a link that lives on
        sweep(house, links_live=timedelta(days=1))  # not before it has died
        assert _names_left(house, gone_id) == left
        sweep(house)
        assert not any(rows_of(house, gone_id).values())
        asyncio.run(_prove(house, gone_id))
        _check_receipt(house, staying.tenant.receipt(closing.receipt_id), gone_id)
        account = hashlib.sha256(email.encode()).digest()
        assert query(house, "select 1 from login_failures where account = %s", account) == []
        assert waiting(house) == 1
        after = rows_of(house, kept_id)
        for name in IN_USE:
            assert len(after.pop(name)) >= len(before.pop(name)), name
        assert after == before
        assert {key.partition("/")[0] for key in asyncio.run(_keys(house))} >= {kept_id}
        with pytest.raises(SomethingLeft):
            asyncio.run(_prove(house, kept_id))
        assert (
            staying.download(staying.jobs.artifacts(_first_job(staying))[0], tmp_path / "mine").read_bytes()
            == f"{MARK} weights".encode()
        )
    traces = query(house, "select 1 from deletion_receipts where convert_from(content, 'utf8') like %s", f"%{gone_id}%")
    assert traces == []


def _first_job(client: Client) -> str:
    return list(client.jobs.list())[-1].id


def _names_left(house: Running, tenant_id: str) -> set[str]:
    """An API process writes the requests of its last seconds down later."""
    return {name for name, rows in rows_of(house, tenant_id).items() if rows} - {"usage_days"}


async def _prove(house: Running, tenant_id: str) -> None:
    """As whoever sees all tenants: not even row-level security may hide what is left."""
    with any_tenant():
        async with database(house) as open_session, open_session() as session:
            await deletion.prove_gone(session, places_of(house), TenantID(tenant_id))


async def _keys(house: Running) -> list[str]:
    return [key async for key in places_of(house).storage.keys("")]


def _check_receipt(house: Running, signed: SignedReceipt, tenant_id: str) -> None:
    receipt = signed.receipt()
    assert receipt.tenant_sha256 == hashlib.sha256(tenant_id.encode()).hexdigest()
    assert receipt.rows["jobs"] == 2
    assert receipt.rows["audit_entries"] > 3
    assert receipt.objects >= 3
    assert set(receipt.checked) == {table.name for table in owned(house)}
    (key,) = [key for key in httpx.get(f"{house.url}/v1/signing-keys").json() if key["keyid"] == signed.keyid]
    public = load_pem_public_key(key["public_key"].encode())
    assert isinstance(public, Ed25519PublicKey)
    content = base64.b64decode(signed.content)
    public.verify(base64.b64decode(signed.sig), receipt_bytes(content))
    with pytest.raises(InvalidSignature):
        public.verify(base64.b64decode(signed.sig), receipt_bytes(content.replace(b'"jobs":2', b'"jobs":0')))


def test_only_an_owner_closes_and_only_by_name(bare: Running) -> None:
    with Client(bare.url, new_tenant(bare)) as client:
        with pytest.raises(Invalid) as refused:
            client.tenant.close("tset")
        assert refused.value.code == "name_differs"
        with pytest.raises(NotFound):
            client.tenant.keep()
        closing = client.tenant.close("test")
        assert client.tenant.close("test") == closing
        assert client.tenant.get().closing == closing
        assert timedelta(days=13) < closing.due_at - closing.requested_at <= timedelta(days=14)
        sweep(bare)
        assert client.tenant.get().closing == closing  # not due
        client.tenant.keep()
        assert client.tenant.get().closing is None
        assert [line.action for line in client.audit.list()] == ["keep_tenant", "close_tenant", "close_tenant"]
        query(bare, "update users set role = %s where id = %s", Role.ADMIN, client.me().user_id)
        for try_it in (lambda: client.tenant.close("test"), client.tenant.keep):
            with pytest.raises(Forbidden):
                try_it()


def test_a_proof_that_fails_lets_nothing_go(bare: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a row forgotten, the tenant would stay, and be tried again."""
    with Client(bare.url, new_tenant(bare)) as client:
        tenant_id, closing = client.me().tenant_id, client.tenant.close("test")
        query(bare, "update tenant_closings set due_at = now() where tenant_id = %s", tenant_id)
        sweep(bare, links_live=timedelta(days=1))

        async def finish() -> None:
            places = places_of(bare)
            await places.storage.write(f"{tenant_id}/upl_late", _once(b"late"), 10)
            with monkeypatch.context() as patch, tenant(tenant_id):
                patch.setattr(type(places.storage), "delete", _forgets)
                async with database(bare) as open_session, open_session.begin() as session:
                    row = await session.get_one(ClosingRow, tenant_id)
                    await deletion.finish(session, places, row)

        with pytest.raises(SomethingLeft, match="objects: 1"):
            asyncio.run(finish())
        assert len(query(bare, "select 1 from tenants where id = %s", tenant_id)) == 1
        sweep(bare)
        assert query(bare, "select 1 from tenants where id = %s", tenant_id) == []
        assert httpx.get(f"{bare.url}/v1/deletion-receipts/{closing.receipt_id}").is_success


async def _forgets(*_: object) -> None:
    """A storage that says it has deleted something."""


async def _once(content: bytes) -> Any:
    yield content


def test_the_export_has_everything_but_secrets(house: Running, tmp_path: Path) -> None:
    with Client(house.url, new_tenant(house)) as client, Client(house.url, new_tenant(house)) as other:
        tenant_id, others_id = fill(house, client, tmp_path / "mine"), fill(house, other, tmp_path / "others")
        path = client.tenant.export(tmp_path / "export.zip")
        rows = rows_of(house, tenant_id)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        content = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(content) == {"README.txt", LINKS, *(f"{name}.jsonl" for name in rows if name not in LEFT_OUT)}
    for name, kept in rows.items():
        if name in LEFT_OUT or name in ("api_keys", "usage_days", "users", "deliveries", "delivery_attempts"):
            continue
        told = [json.loads(line) for line in content[f"{name}.jsonl"].splitlines()]
        assert len(told) == len(kept), name
        assert not [column for row in told for column in row if is_secret(column)]
    everything = "".join(content.values())
    assert others_id not in everything
    assert "argon2" not in everything
    assert json.loads(content["models.jsonl"])["filename"] == f"{MARK}.onnx"
    links = [json.loads(line) for line in content[LINKS].splitlines()]
    assert {link["sha256"] for link in links} == {json.loads(row)["sha256"] for row in rows["files"]}
    for link in links:
        assert hashlib.sha256(httpx.get(link["url"], timeout=60).content).hexdigest() == link["sha256"]


def test_secrets_are_never_exported(bare: Running) -> None:
    """A column that holds bytes is a secret; of the others, those whose names say so. Look at new ones by hand."""
    found = query(
        bare,
        "select table_name, column_name from information_schema.columns where table_schema = 'public' and data_type "
        "<> 'bytea' and column_name ~ 'secret|token|password|digest|hash|sealed|key'",
    )
    names = {table.name for table in owned(bare)} - LEFT_OUT
    shown = {(table, column) for table, column in found if table in names and not is_secret(column)}
    assert shown == {("audit_entries", "key_id"), ("files", "key"), ("uploads", "key")}


def test_the_catalogue_is_in_an_order_to_delete_by(bare: Running) -> None:
    order = [table.name for table in owned(bare)]
    assert order.index("artifacts") < order.index("files") < order.index("tenants") == len(order) - 1
    references = query(
        bare,
        "select conrelid::regclass::text, confrelid::regclass::text from pg_constraint where contype = 'f'",
    )
    for child, parent in references:
        assert child == parent or order.index(child) < order.index(parent)
    walled = query(bare, "select tablename from pg_policies where policyname = 'one_tenant'")
    assert set(order) == {name for (name,) in walled} - {"login_failures", "reset_requests"}
