"""What is old enough to go. Whether something still refers to it is asked of the foreign keys when it is deleted."""

from datetime import datetime
from typing import Any

from sqlalchemy import delete, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.artifacts.tables import ArtifactRow, FileRow
from app.core.audit import AuditRow
from app.core.scope import Role, acting_as
from app.core.tenancy import TenantID
from app.fleet.tables import StepRow
from app.jobs.tables import JobEventRow, JobRow, TrialRow
from app.retention.tables import RetentionRow
from app.shares.tables import ShareRow
from whetstone.contract.jobs import JobState, StepState

FINAL = tuple(state for state in JobState if state.is_final)
_OPEN = tuple(state for state in StepState if not state.is_final)


class Old:
    """One tenant's things from before a moment."""

    def __init__(self, session: AsyncSession, tenant_id: TenantID) -> None:
        self.session = session
        self.tenant_id = tenant_id

    async def jobs(self, before: datetime, after: str, limit: int, *, with_files: bool = False) -> list[str]:
        """Jobs with ids beyond `after` that finished so long ago, held. Not those with a step at work, or a link
        to their report that still leads there.
        """
        at_work = exists().where(StepRow.subject_id == JobRow.id, StepRow.state.in_(_OPEN))
        shared = exists().where(
            ShareRow.job_id == JobRow.id, ShareRow.revoked_at.is_(None), ShareRow.expires_at > func.now()
        )
        query = select(JobRow.id).where(
            JobRow.tenant_id == self.tenant_id, JobRow.state.in_(FINAL), JobRow.finished_at < before, ~at_work, ~shared
        )
        if with_files:
            query = query.where(exists().where(ArtifactRow.job_id == JobRow.id))
        query = query.where(JobRow.id > after).order_by(JobRow.id).limit(limit)
        return list(await self.session.scalars(query.with_for_update(of=JobRow, skip_locked=True)))

    async def unused(self, row: Any, before: datetime, after: str, limit: int) -> list[str]:
        """Models, or datasets, that no job was ordered with since, held."""
        used = func.coalesce(row.last_used_at, row.created_at)
        query = select(row.id).where(row.tenant_id == self.tenant_id, used < before, row.id > after)
        return list(await self.session.scalars(query.order_by(row.id).limit(limit).with_for_update(of=row)))

    async def files_of(self, row: Any, row_id: str) -> tuple[str, ...]:
        found = await self.session.scalar(select(row).where(row.tenant_id == self.tenant_id, row.id == row_id))
        return () if found is None else tuple(found.file_ids)

    async def delete(self, row: Any, row_id: str) -> None:
        """Raises IntegrityError where anything refers to it."""
        await self.session.execute(delete(row).where(row.tenant_id == self.tenant_id, row.id == row_id))

    async def delete_artifacts(self, job_id: str) -> list[tuple[str, str]]:
        """Their ids and their files'."""
        mine = delete(ArtifactRow).where(ArtifactRow.tenant_id == self.tenant_id, ArtifactRow.job_id == job_id)
        gone = await self.session.execute(mine.returning(ArtifactRow.id, ArtifactRow.file_id))
        return [(artifact_id, file_id) for artifact_id, file_id in gone]

    async def delete_job(self, job_id: str) -> None:
        """With its rows; its artifacts must be gone. Raises IntegrityError where anything else refers to it."""
        for row, column in ((TrialRow, TrialRow.job_id), (JobEventRow, JobEventRow.job_id)):
            await self.session.execute(delete(row).where(row.tenant_id == self.tenant_id, column == job_id))
        mine = delete(StepRow).where(StepRow.tenant_id == self.tenant_id, StepRow.subject_id == job_id)
        await self.session.execute(mine)
        await self.delete(JobRow, job_id)

    async def delete_audit(self, before: datetime | None) -> int:
        """Lines from before a moment, or all of them. Returns how many."""
        query = delete(AuditRow).where(AuditRow.tenant_id == self.tenant_id)
        async with acting_as(self.session, Role.RETENTION):
            gone = await self.session.execute(query if before is None else query.where(AuditRow.at < before))
        return int(gone.rowcount)  # type: ignore[attr-defined] # a deletion's result counts

    async def stored(self) -> tuple[int, int]:
        """Files, and their bytes."""
        query = select(func.count(), func.coalesce(func.sum(FileRow.size), 0))
        count, size = (await self.session.execute(query.where(FileRow.tenant_id == self.tenant_id))).one()
        return count, int(size)


async def rules_of(session: AsyncSession, tenant_id: TenantID, *, for_update: bool = False) -> RetentionRow | None:
    query = select(RetentionRow).where(RetentionRow.tenant_id == tenant_id)
    found: RetentionRow | None = await session.scalar(query.with_for_update() if for_update else query)
    return found


async def ruled_any_tenant(session: AsyncSession) -> list[str]:
    """Every tenant with rules."""
    return list(await session.scalars(select(RetentionRow.tenant_id).order_by(RetentionRow.tenant_id)))
