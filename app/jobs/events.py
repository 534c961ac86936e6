"""A job's events: written under the job's lock, read as a stream that can be taken up again anywhere."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.core.bell import Bell, ring
from app.fleet.tables import StepRow
from app.jobs.tables import JobEventRow, JobRow
from whetstone.contract.jobs import EventKind, JobEvent

LOOK_AGAIN_SECONDS = 5.0
BATCH = 200


async def tell(session: AsyncSession, job: JobRow, kind: EventKind, **fields: Any) -> None:
    """Append an event. The job's row must be locked by this transaction."""
    job.events += 1
    event = JobEvent(seq=job.events, kind=kind, at=datetime.now(UTC), **fields)
    session.add(JobEventRow(job_id=job.id, tenant_id=job.tenant_id, seq=event.seq, event=event))
    await ring(session, job.id)


async def tell_step(session: AsyncSession, job: JobRow, kind: EventKind, step: StepRow, **fields: Any) -> None:
    about = {"step_id": step.id, "step_kind": step.kind, "target": step.target, "attempt": step.attempt}
    await tell(session, job, kind, **about, step_state=step.state, **fields)


async def follow(
    sessions: async_sessionmaker[AsyncSession], bell: Bell, job_id: str, after: int
) -> AsyncIterator[JobEvent]:
    """Every event later than `after`, as they come, until the job has finished. The caller checks the tenant."""
    async with bell.listening(job_id) as ear:
        while True:
            events = await _later(sessions, job_id, after)
            for event in events:
                yield event
                if event.kind is EventKind.JOB_FINISHED:
                    return
                after = event.seq
            if len(events) < BATCH:
                await ear.wait(LOOK_AGAIN_SECONDS)


async def _later(sessions: async_sessionmaker[AsyncSession], job_id: str, after: int) -> list[JobEvent]:
    query = select(JobEventRow.event).where(JobEventRow.job_id == job_id, JobEventRow.seq > after)
    async with sessions() as session:
        return list(await session.scalars(query.order_by(JobEventRow.seq).limit(BATCH)))
