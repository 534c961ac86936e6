"""Who changed what, when, from where: one line for each change, written in the transaction that makes it.

Lines are only ever added. The roles that the service runs as may neither change nor delete one (migration 0008).
"""

import json
from typing import Any

from fastapi import Depends
from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from starlette.requests import Request
from starlette.responses import Response

from app.core.database import Base, Created, Id, PrimaryId
from app.core.ids import Prefix, new_id
from app.core.telemetry import address_of
from app.core.tenancy import Principal

_WRITTEN = "audit_written"
_BODY_TELLS = "PATCH"  # says what was changed, and holds no secret


class AuditRow(Base):
    """`key_id` is that of an API key or of a browser's session; without a user the service did it by itself.

    None of the ids is a foreign key: lines stay.
    """

    __tablename__ = "audit_entries"
    __table_args__ = (Index("ix_audit_entries_tenant_id_id", "tenant_id", "id"),)

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    at: Mapped[Created]
    user_id: Mapped[Id | None]
    key_id: Mapped[Id | None]
    action: Mapped[str] = mapped_column(String(60))
    subject: Mapped[Id | None]
    details: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    address: Mapped[str] = mapped_column(String(50))
    agent: Mapped[str] = mapped_column(String(200))
    request_id: Mapped[str] = mapped_column(String(128))


async def _declare() -> None:
    """The route looks at its dependencies before anything is carried out."""


CHANGES_NOTHING = Depends(_declare)
"""Among the `dependencies` of a route that only reads, whatever its method."""


def write(
    session: AsyncSession,
    request: Request,
    tenant_id: str,
    user_id: str,
    key_id: str | None,
    subject: str | None,
    details: Any = None,
) -> None:
    """Add the line of this request; once it is there, its route adds none."""
    request.scope[_WRITTEN] = True
    session.add(
        AuditRow(
            id=new_id(Prefix.AUDIT),
            tenant_id=tenant_id,
            user_id=user_id,
            key_id=key_id,
            action=request.scope["route"].name,
            subject=subject,
            details=details,
            address=address_of(request)[:50],
            agent=request.headers.get("User-Agent", "")[:200],
            request_id=request.scope["request_id"],
        )
    )


def note(session: AsyncSession, tenant_id: str, action: str, details: Any, subject: str | None = None) -> None:
    """Add a line for what the service did by itself, as it was told."""
    row = AuditRow(id=new_id(Prefix.AUDIT), tenant_id=tenant_id, action=action, subject=subject, details=details)
    row.address, row.agent, row.request_id = "service", "", ""
    session.add(row)


async def write_change(session: AsyncSession, request: Request, answer: Response) -> None:
    """Add the line of a request that an authenticated caller made and that was carried out."""
    caller: Principal | None = request.scope.get("caller")
    if caller is None or _WRITTEN in request.scope:
        return
    details = await request.json() if request.method == _BODY_TELLS else None
    write(session, request, caller.tenant_id, caller.user_id, caller.key_id, _subject(request, answer), details)


def _subject(request: Request, answer: Response) -> str | None:
    """What the path names, or else what was made."""
    if request.path_params:
        return str(next(iter(request.path_params.values())))
    made = json.loads(bytes(answer.body)) if answer.body else None
    return made.get("id") if isinstance(made, dict) else None
