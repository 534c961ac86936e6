"""What the control worker does with tenants that are to be deleted."""

from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.closing import deletion
from app.closing.deletion import Places
from app.closing.tables import ClosingRow
from app.core import scope

log = structlog.get_logger()


async def sweep(sessions: async_sessionmaker[AsyncSession], places: Places, links_live: timedelta) -> None:
    """Delete what is due, each tenant in a transaction of its own; `links_live` after that, finish it."""
    now = datetime.now(UTC)
    begin, end = ClosingRow.purged_at.is_(None), ClosingRow.purged_at <= now - links_live
    due = select(ClosingRow.tenant_id).where(ClosingRow.due_at <= now, or_(begin, end))
    async with sessions() as session:
        tenants = list(await session.scalars(due.order_by(ClosingRow.due_at)))
    for tenant_id in tenants:
        try:
            with scope.tenant(tenant_id):
                async with sessions.begin() as session:
                    await _delete(session, places, tenant_id)
        except Exception:  # one that cannot be deleted now must not keep the others
            log.exception("tenant could not be deleted")


async def _delete(session: AsyncSession, places: Places, tenant_id: str) -> None:
    query = select(ClosingRow).where(ClosingRow.tenant_id == tenant_id, ClosingRow.due_at <= datetime.now(UTC))
    row = await session.scalar(query.with_for_update(skip_locked=True))
    if row is None:  # called off meanwhile, or another control worker is at it
        return
    if row.purged_at is None:
        await deletion.purge(session, places, row)
        log.info("tenant purged", objects=row.objects)
    else:
        await deletion.finish(session, places, row)
        log.info("tenant deleted")
