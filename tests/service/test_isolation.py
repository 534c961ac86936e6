"""Nothing of one tenant is shown to another, by the API or by the database."""

import tempfile
from pathlib import Path

import psycopg
import pytest

from app.core.database import plain_url
from app.embedded.service import Running
from tests.service.actors import new_tenant, query
from tests.service.isolation import Attack, attack, settle
from whetstone.client import Client

SHARED = {"signing_keys", "alembic_version", "workers", "deletion_receipts"}  # no tenant owns rows of these


def test_a_stranger_finds_nothing(bare: Running) -> None:
    tally = attack(bare)
    assert tally.leaks == []
    assert tally.tried > 400


def test_the_attack_finds_a_hole(bare: Running) -> None:
    with tempfile.TemporaryDirectory() as folder, Client(bare.url, new_tenant(bare)) as client:
        stranger = Attack(bare, settle(bare, client, Path(folder)))
    query(bare, "alter table events disable row level security")
    try:
        stranger._database()
    finally:
        query(bare, "alter table events enable row level security")
        stranger.http.close()
    assert stranger.tally.leaks
    assert all(leak.startswith("events:") for leak in stranger.tally.leaks)


def test_every_table_is_behind_the_wall(bare: Running) -> None:
    tables = query(
        bare,
        "select relname, relrowsecurity and relforcerowsecurity from pg_class "
        "where relkind = 'r' and relnamespace = 'public'::regnamespace",
    )
    open_tables = {name for name, walled in tables if not walled}
    assert open_tables == SHARED, "a migration that makes a table ends with `call isolate_tenants('its_name')`"
    found = "select tablename, count(*) from pg_policies where policyname in ('one_tenant', 'any_tenant') group by 1"
    assert {name for name, count in query(bare, found) if count == 2} == {name for name, _ in tables} - SHARED
    others = query(bare, "select tablename from pg_policies where policyname not in ('one_tenant', 'any_tenant')")
    assert others == [("audit_entries",)]  # what takes old lines away sees one tenant too


def test_the_service_is_nobody_in_its_database(bare: Running) -> None:
    with psycopg.connect(plain_url(bare.environment["WHETSTONE_DATABASE_URL"]), autocommit=True) as connection:
        role = connection.execute(
            "select current_user, rolsuper or rolbypassrls or rolinherit from pg_roles where rolname = current_user"
        ).fetchone()
        assert role == ("whetstone_app", False)
        assert connection.execute("select count(*) from tenants").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("alter table tenants disable row level security")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("insert into events (id, tenant_id, kind, data) values ('a', 'b', 'c', '{}')")
        with connection.transaction():
            connection.execute("select set_config('app.tenant_id', id, true) from tenants")
            connection.execute("set local role whetstone_any_tenant")
            assert connection.execute("select count(*) > 0 from tenants").fetchone() == (True,)
        assert connection.execute("select count(*) from tenants").fetchone() == (0,)  # nothing stays behind
