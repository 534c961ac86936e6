"""Whose rows the database shows: set for each transaction, by row-level security, beside the application's own scoping.

Every transaction runs as a role that owns nothing, and sees the rows of one tenant. Code that was told no tenant sees
no row at all; code that looks after all tenants says so by `any_tenant`.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

import psycopg.sql
from sqlalchemy.ext.asyncio import AsyncSession


class Role(StrEnum):
    """The database roles that migrations make. The first sees one tenant, the second all; the third may take lines of
    one tenant out of the audit log, and nothing else.
    """

    TENANT = "whetstone_app"
    ANY_TENANT = "whetstone_any_tenant"
    RETENTION = "whetstone_retention"


@dataclass(frozen=True)
class Scope:
    role: Role = Role.TENANT
    tenant_id: str = ""


NOBODY = Scope()
_scope: ContextVar[Scope] = ContextVar("scope", default=NOBODY)


def enter_nobody() -> None:
    """What a request begins with."""
    _scope.set(NOBODY)


def enter_tenant(tenant_id: str) -> None:
    """For the rest of this task. Only for an id that authentication or a signed token gave."""
    _scope.set(Scope(Role.TENANT, tenant_id))


def enter_any_tenant() -> None:
    """For the rest of this task: a login, which cannot know the tenant yet, and the control worker."""
    _scope.set(Scope(Role.ANY_TENANT))


@contextmanager
def tenant(tenant_id: str) -> Iterator[None]:
    token = _scope.set(Scope(Role.TENANT, tenant_id))
    try:
        yield
    finally:
        _scope.reset(token)


@contextmanager
def any_tenant() -> Iterator[None]:
    token = _scope.set(Scope(Role.ANY_TENANT))
    try:
        yield
    finally:
        _scope.reset(token)


def confinement() -> str:
    """The statement that confines a transaction. Both settings end with it, so no pooler carries them to another."""
    scope = _scope.get()
    role, tenant_id = psycopg.sql.quote(str(scope.role)), psycopg.sql.quote(scope.tenant_id)
    return f"select set_config('role', {role}, true), set_config('app.tenant_id', {tenant_id}, true)"


@asynccontextmanager
async def acting_as(session: AsyncSession, role: Role) -> AsyncIterator[None]:
    """Within a transaction: with another role's rights, for the same tenant."""
    statement = f"select set_config('role', {psycopg.sql.quote(str(role))}, true)"
    await (await session.connection()).exec_driver_sql(statement)
    yield
    await confine(session)


async def confine(session: AsyncSession) -> None:
    """Confine a transaction that has begun to what was entered since."""
    await (await session.connection()).exec_driver_sql(confinement())
