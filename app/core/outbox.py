"""Messages to the broker leave after the commit: they are rows first, sent by the control worker, then deleted.

A crash between sending and deleting sends twice, which a claim makes harmless; nothing is ever lost.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, String, delete, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.core.bell import ring
from app.core.database import Base, Created, Id

TOPIC = "outbox"
Send = Callable[[str, str, list[Any]], None]


class OutboxRow(Base):
    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    task: Mapped[str] = mapped_column(String(100))
    queue: Mapped[str] = mapped_column(String(100))
    args: Mapped[list[Any]] = mapped_column(JSONB)
    created_at: Mapped[Created]


async def put(session: AsyncSession, tenant_id: str, task: str, queue: str, args: list[Any]) -> None:
    """Send this message once the current transaction has been committed."""
    session.add(OutboxRow(tenant_id=tenant_id, task=task, queue=queue, args=args))
    await ring(session, TOPIC)


async def relay(session: AsyncSession, send: Send, limit: int = 100) -> int:
    """Send waiting messages, oldest first, and delete them; several relays may run at once. Returns how many."""
    query = select(OutboxRow).order_by(OutboxRow.id).limit(limit).with_for_update(skip_locked=True)
    rows = list(await session.scalars(query))
    for row in rows:
        await asyncio.to_thread(send, row.task, row.queue, row.args)
    await session.execute(delete(OutboxRow).where(OutboxRow.id.in_([row.id for row in rows])))
    return len(rows)
