from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.core.audit import AuditRow
from app.core.errors import AppError
from app.core.pagination import Cursor
from app.core.tenancy import TenantID, TenantRepository

BATCH = 500


class EntryNotFound(AppError):
    """There is no such entry in the audit log."""

    code, status = "audit_entry_not_found", 404


@dataclass(frozen=True)
class Wanted:
    """Which entries; None means any. `since` is in, `until` is not."""

    action: str | None = None
    subject: str | None = None
    user_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class AuditRepository(TenantRepository[AuditRow]):
    row, missing = AuditRow, EntryNotFound

    def those(self, wanted: Wanted) -> Select[tuple[AuditRow]]:
        query = self.query()
        for column in ("action", "subject", "user_id"):
            value = getattr(wanted, column)
            query = query if value is None else query.where(getattr(AuditRow, column) == value)
        query = query if wanted.since is None else query.where(AuditRow.at >= wanted.since)
        return query if wanted.until is None else query.where(AuditRow.at < wanted.until)


async def batches(
    sessions: async_sessionmaker[AsyncSession], tenant_id: TenantID, wanted: Wanted
) -> AsyncIterator[tuple[AuditRow, ...]]:
    """All of them, newest first; no connection is held between two batches."""
    before: str | None = None
    while True:
        async with sessions() as session:
            log = AuditRepository(session, tenant_id)
            page = await log.page(Cursor(BATCH, before), log.those(wanted))
        if page.items:
            yield page.items
        if page.next_cursor is None:
            return
        before = page.items[-1].id
