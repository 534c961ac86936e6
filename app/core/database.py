"""Postgres: the engine, one transaction per request, and columns that hold contract data."""

import time
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import psycopg
from fastapi import Depends, Request
from pydantic import TypeAdapter
from sqlalchemy import Connection, DateTime, Dialect, MetaData, String, event, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import InvalidatePoolError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeDecorator

from app.core.scope import confinement

TRUSTED_SECONDS = 1.0
_RESTS_SINCE = "rests_since"

# Ids compare byte by byte, whatever the database's language: their order is the order of time.
IdType = String(40, collation="C")
Id = Annotated[str, mapped_column(IdType)]
PrimaryId = Annotated[str, mapped_column(IdType, primary_key=True)]
Timestamp = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Created = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Json(TypeDecorator[Any]):
    """A JSONB column read and written as contract data."""

    impl = JSONB(none_as_null=True)
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = repr(kind)  # tells compiled statements apart; not every kind can be hashed
        self.adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else self.adapter.dump_python(value, mode="json")

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else self.adapter.validate_python(value, strict=False)


def async_url(url: str) -> str:
    """The address with the psycopg driver named, as SQLAlchemy wants it."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def plain_url(url: str) -> str:
    """The address as libpq wants it."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def create_engine(url: str, pool_size: int) -> AsyncEngine:
    """Each transaction is confined by `app.core.scope` when it begins."""
    engine = create_async_engine(
        async_url(url), pool_size=pool_size, max_overflow=pool_size, connect_args={"autocommit": True}
    )
    event.listen(engine.sync_engine, "begin", _begin)
    event.listen(engine.sync_engine, "checkin", _note_rest)
    event.listen(engine.sync_engine, "checkout", partial(_ping_rested, engine.dialect))
    return engine


def _begin(connection: Connection) -> None:
    """The driver leaves it to us, so that a transaction's beginning and its confinement are one round trip."""
    driver: Any = connection.connection.dbapi_connection
    statement = f"begin; {confinement()}"
    try:
        driver.run_async(lambda own: own.execute(statement, prepare=False))  # two in one cannot be prepared
    except psycopg.OperationalError as error:
        connection.invalidate(error)
        raise OperationalError(statement, None, error) from error


def _note_rest(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[_RESTS_SINCE] = time.monotonic()


def _ping_rested(dialect: Dialect, connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
    """See whether the server is still there, unless it answered on this connection a moment ago."""
    now = time.monotonic()
    if now - record.info.get(_RESTS_SINCE, now) <= TRUSTED_SECONDS:
        return
    try:
        dialect.do_ping(connection)
    except psycopg.Error as error:
        raise InvalidatePoolError from error


def sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    return async_sessionmaker(engine, expire_on_commit=False)


async def open_session(request: Request) -> AsyncIterator[AsyncSession]:
    """One request, one transaction: committed before the answer is sent, rolled back on any error.

    A change already has one, which its route commits.
    """
    if "session" in request.scope:
        yield request.scope["session"]
        return
    async with request.app.state.sessions() as session, session.begin():
        yield session


# scope="function" ends the transaction before the response leaves, so a failed commit is a 500 and not a lie.
Session = Annotated[AsyncSession, Depends(open_session, scope="function")]
