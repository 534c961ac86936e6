"""Whose rows the database shows: set for each transaction, by row-level security, beside the application's own scoping.

Every transaction runs as a role that owns nothing, and sees the rows of one tenant. Code that was told no tenant sees
no row at all; code that looks after all tenants says so by `any_tenant`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction


class Role(StrEnum):
    """The database roles that migration 0004 makes. The first sees one tenant, the second all."""

    TENANT = "whetstone_app"
    ANY_TENANT = "whetstone_any_tenant"


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


class ScopedSession(Session):
    """Confines each transaction when it begins."""


@event.listens_for(ScopedSession, "after_begin")
def _confine(_session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    """One round trip; both settings end with the transaction, so no pooler carries them to another."""
    if transaction.nested:
        return
    scope = _scope.get()
    connection.exec_driver_sql(
        "select set_config('role', %s, true), set_config('app.tenant_id', %s, true)", (scope.role, scope.tenant_id)
    )
