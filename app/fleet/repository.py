"""All SQL of the fleet. Steps here are reached by a signed token or by the sweeper, so reads are by id alone."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import and_, cast, func, or_, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import AppError
from app.core.tenancy import TenantID, TenantRepository
from app.fleet.tables import StepRow, WorkerRow
from whetstone.contract.failures import Failure
from whetstone.contract.jobs import StepState
from whetstone.contract.steps import Enrol
from whetstone.contract.targets import HardwareClass
from whetstone.contract.toolkits import Toolkit

ALIVE = timedelta(seconds=60)  # a worker shows itself every ten seconds


class StepNotFound(AppError):
    """There is no such step."""

    code, status = "step_not_found", 404


class Glance(NamedTuple):
    """What a job's page shows of a step."""

    id: str
    subject_id: str
    kind: str
    target: str | None
    state: str
    attempt: int
    progress: float
    message: str | None
    failure: Failure | None
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    wrapping_up: bool


class StepRepository(TenantRepository[StepRow]):
    row, missing = StepRow, StepNotFound

    async def needs_file(self, file_id: str) -> bool:
        """Whether a step that has not ended reads this file."""
        unended = StepRow.state.in_((StepState.QUEUED, StepState.RUNNING))
        reads = cast(StepRow.inputs, JSONB).contains([{"file_id": file_id}])
        query = self.query().where(unended, reads, StepRow.cancel_requested.is_(False)).limit(1)
        return await self.session.scalar(query) is not None

    async def glances(self, subject_ids: list[str]) -> dict[str, list[Glance]]:
        """The steps of many subjects in one query, without what can be large: tasks, inputs and results."""
        found: dict[str, list[Glance]] = {subject_id: [] for subject_id in subject_ids}
        wrapping_up = cast(StepRow.task, JSONB)["stop"].astext.is_not(None).label("wrapping_up")
        columns = [getattr(StepRow, name) for name in Glance._fields if name != "wrapping_up"]
        query = select(*columns, wrapping_up).where(
            StepRow.tenant_id == self.tenant_id, StepRow.subject_id.in_(subject_ids)
        )
        for row in await self.session.execute(query.order_by(StepRow.id)):
            found[row.subject_id].append(Glance._make(row))
        return found

    async def any_wrapping_up(self, subject_id: str) -> bool:
        """Whether a step of the subject was told to end with the best so far."""
        told = cast(StepRow.task, JSONB)["stop"].astext.is_not(None)
        return (
            await self.session.scalar(self.query().where(StepRow.subject_id == subject_id, told).limit(1)) is not None
        )

    async def of_subject(self, subject_id: str) -> list[StepRow]:
        return list(
            await self.session.scalars(self.query().where(StepRow.subject_id == subject_id).order_by(StepRow.id))
        )


async def running(session: AsyncSession, tenant_id: TenantID) -> int:
    """How many steps of the tenant are being worked on."""
    query = select(func.count()).where(StepRow.tenant_id == tenant_id, StepRow.state == StepState.RUNNING)
    return await session.scalar(query) or 0


async def next_in_line(session: AsyncSession, tenant_id: TenantID) -> list[StepRow]:
    """The tenant's oldest waiting step of each class of hardware."""
    query = select(StepRow).where(StepRow.tenant_id == tenant_id, StepRow.state == StepState.QUEUED)
    return list(await session.scalars(query.distinct(StepRow.hardware).order_by(StepRow.hardware, StepRow.id)))


async def find_any_tenant(session: AsyncSession, step_id: str) -> StepRow | None:
    return await session.get(StepRow, step_id)


async def lock(session: AsyncSession, step: StepRow) -> None:
    """Take the step for this transaction and read it anew."""
    await session.refresh(step, with_for_update=True)


async def due_any_tenant(session: AsyncSession, now: datetime, limit: int) -> list[tuple[str, str]]:
    """Tenant and id of steps whose lease ran out, or whose message should be sent again (each time twice as late)."""
    lapsed = and_(StepRow.state == StepState.RUNNING, StepRow.lease_until < now)
    unheard = and_(StepRow.state == StepState.QUEUED, StepRow.sent_at < now)
    query = select(StepRow.tenant_id, StepRow.id).where(or_(lapsed, unheard))
    return list((await session.execute(query.order_by(StepRow.id).limit(limit))).tuples())


async def save_worker(session: AsyncSession, worker: Enrol) -> None:
    values = worker.model_dump(mode="json")
    values["id"] = values.pop("worker_id")
    query = insert(WorkerRow).values(**values, last_seen_at=func.now())
    changed = {name: query.excluded[name] for name in values if name != "id"} | {"last_seen_at": func.now()}
    await session.execute(query.on_conflict_do_update(index_elements=[WorkerRow.id], set_=changed))


async def living_workers(session: AsyncSession) -> list[WorkerRow]:
    return list(await session.scalars(select(WorkerRow).where(WorkerRow.last_seen_at >= datetime.now(UTC) - ALIVE)))


async def is_offered(session: AsyncSession, hardware: HardwareClass, toolkit: Toolkit) -> bool:
    """Whether a living worker with this hardware has the toolkit."""
    return any(worker.hardware == hardware and toolkit in worker.toolkits for worker in await living_workers(session))
