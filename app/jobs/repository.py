from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload, undefer

from app.core.errors import AppError
from app.core.tenancy import TenantRepository
from app.jobs.tables import JobRow


class JobNotFound(AppError):
    """There is no such job."""

    code, status = "job_not_found", 404


class JobRepository(TenantRepository[JobRow]):
    row, missing = JobRow, JobNotFound

    async def with_report(self, job_id: str) -> JobRow:
        row: JobRow | None = await self.session.scalar(
            self.query().where(JobRow.id == job_id).options(undefer(JobRow.report))
        )
        if row is None:
            raise JobNotFound
        return row


async def hold_any_tenant(session: AsyncSession, job_id: str) -> JobRow:
    """The job behind a step, locked, with its model and dataset; reached by the step's signed token."""
    query = select(JobRow).where(JobRow.id == job_id).options(joinedload(JobRow.model), joinedload(JobRow.dataset))
    return (await session.scalars(query.with_for_update(of=JobRow).execution_options(populate_existing=True))).one()
