"""The second wall: what a query that forgot the tenant would see, in every table, under row-level security."""

from typing import Any, Protocol

import psycopg
from psycopg import sql

from app.core.database import plain_url
from app.embedded.service import Running
from tests.service.actors import query

_APPEND_ONLY = {"audit_entries"}


class Note(Protocol):
    def __call__(self, where: str, *, safe: bool) -> None: ...


def attack(service: Running, victim: str, stranger: str, note: Note) -> None:
    """The second wall: what a query that forgot the tenant would see."""
    for name, mine in tables(service):
        for tenant in (stranger, ""):
            with psycopg.connect(plain_url(service.environment["WHETSTONE_DATABASE_URL"])) as connection:
                connection.execute("select set_config('app.tenant_id', %s, true)", (tenant,))
                _table(connection, name, mine, tenant, victim, note)
                connection.rollback()


def _table(connection: psycopg.Connection[Any], name: str, mine: str, tenant: str, victim: str, note: Note) -> None:
    table, column = sql.Identifier(name), sql.Identifier(mine)
    theirs = sql.SQL("from {} where starts_with({}, %s)").format(table, column)
    for verb in (sql.SQL("select * "), sql.SQL("delete ")):
        found = _rows(connection, verb + theirs, victim)
        note(f"{name}: {found} rows of another as {tenant or 'nobody'}", safe=found == 0)
    changed = _rows(connection, sql.SQL("update {} set {} = {}").format(table, column, column))
    own = (0,) if name in _APPEND_ONLY else _count(connection, table)
    note(f"{name}: changed {changed} rows as {tenant or 'nobody'}", safe=own == (changed,))
    moved = _rows(connection, sql.SQL("update {} set {} = %s").format(table, column), f"{victim}/x")
    note(f"{name}: gave {moved} rows to another", safe=moved == 0)


def _rows(connection: psycopg.Connection[Any], statement: sql.Composable, *args: str) -> int:
    """How many rows a statement reaches; none where it is forbidden."""
    try:
        with connection.transaction():
            return connection.execute(statement, args).rowcount
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ForeignKeyViolation):
        return 0


def _count(connection: psycopg.Connection[Any], table: sql.Identifier) -> tuple[Any, ...] | None:
    return connection.execute(sql.SQL("select count(*) from {}").format(table)).fetchone()


def tables(service: Running) -> list[tuple[str, str]]:
    """Every table that a tenant owns rows of, and the column that says so."""
    found = query(
        service,
        "select table_name, column_name from information_schema.columns where table_schema = 'public' and "
        "(column_name = 'tenant_id' or (table_name, column_name) in (('tenants', 'id'), ('doomed_objects', 'key')))",
    )
    return [(name, column) for name, column in found]
