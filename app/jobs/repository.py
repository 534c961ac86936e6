from functools import cache

from pydantic import TypeAdapter
from sqlalchemy import TextClause, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload, undefer

from app.core.errors import AppError
from app.core.ids import Prefix
from app.core.listing import Sort, Wanted, encode, page_of
from app.core.pagination import Cursor
from app.core.tenancy import TenantID, TenantRepository
from app.jobs.tables import JobRow
from whetstone.contract.jobs import JobRead
from whetstone.contract.pages import Page

_PAGE = """
    select id, json_build_object(
        'id', id, 'name', name, 'labels', labels, 'spec', spec, 'state', state, 'verdict', verdict, 'failure', failure,
        'created_at', created_at, 'started_at', started_at, 'finished_at', finished_at,
        'finishing', coalesce(told.finishing, false), 'steps', coalesce(told.steps, '[]')
    )::text
    from jobs left join lateral (
        select bool_or(task ->> 'stop' is not null) as finishing, json_agg(json_build_object(
            'id', id, 'kind', kind, 'target', target, 'state', state, 'attempt', attempt, 'progress', progress,
            'message', message, 'failure', failure, 'queued_at', queued_at, 'started_at', started_at,
            'finished_at', finished_at
        ) order by id) as steps
        from steps where steps.subject_id = jobs.id and steps.tenant_id = jobs.tenant_id
    ) told on true
    where tenant_id = :tenant_id and id < :before order by id desc limit {most:d}
"""
_LAST = "~"  # comes after every id
_JOB = TypeAdapter(JobRead)


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


@cache
def _page(most: int) -> TextClause:
    """The limit is part of the statement: were it a parameter, Postgres would plan it anew each time."""
    return text(_PAGE.format(most=most))


async def read_page(session: AsyncSession, tenant_id: TenantID, cursor: Cursor) -> Page[JobRead]:
    """Jobs with their steps, newest first, in one statement: the list that everybody polls. The database puts each
    together, the contract checks it.
    """
    given = {"tenant_id": tenant_id, "before": cursor.before_id or _LAST}
    rows = (await (await session.connection()).execute(_page(cursor.limit + 1), given)).all()
    jobs = tuple(_JOB.validate_json(told) for _, told in rows[: cursor.limit])
    return Page(
        items=jobs, next_cursor=encode(Sort.NEWEST, jobs[-1].name, jobs[-1].id) if len(rows) > cursor.limit else None
    )


async def found_page(session: AsyncSession, tenant_id: TenantID, wanted: Wanted) -> tuple[list[JobRow], str | None]:
    """Jobs without their steps, of a list that is filtered or in another order."""
    return await page_of(session, JobRepository(session, tenant_id).query(), JobRow, Prefix.JOB, wanted)


async def hold_any_tenant(session: AsyncSession, job_id: str) -> JobRow:
    """The job behind a step, locked, with its model and dataset; reached by the step's signed token."""
    query = select(JobRow).where(JobRow.id == job_id).options(joinedload(JobRow.model), joinedload(JobRow.dataset))
    return (await session.scalars(query.with_for_update(of=JobRow).execution_options(populate_existing=True))).one()
