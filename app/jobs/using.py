"""When models and datasets were last ordered with, for whoever wants to know what is not used any more."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, or_, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.tenancy import TenantID
from app.datasets.tables import DatasetRow
from app.models.tables import ModelRow

_EXACT = timedelta(hours=1)  # days are counted, so that not every order writes to the same row


async def mark_used(session: AsyncSession, tenant_id: TenantID, file_ids: Collection[str]) -> None:
    """Whatever these files are, as a job's inputs."""
    models = or_(ModelRow.file_id.in_(file_ids), ModelRow.imported_file_id.in_(file_ids))
    await _mark(session, tenant_id, ModelRow, models)
    await _mark(session, tenant_id, DatasetRow, DatasetRow.file_id.in_(file_ids))


async def _mark(session: AsyncSession, tenant_id: TenantID, row: Any, those: ColumnElement[bool]) -> None:
    now = datetime.now(UTC)
    long_ago = or_(row.last_used_at.is_(None), row.last_used_at < now - _EXACT)
    query = update(row).where(row.tenant_id == tenant_id, those, long_ago).values(last_used_at=now)
    await session.execute(query.execution_options(synchronize_session=False))
