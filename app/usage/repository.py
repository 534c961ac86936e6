"""All SQL of usage."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from typing import NamedTuple

from sqlalchemy import BigInteger, cast, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.artifacts.tables import FileRow
from app.core.errors import AppError
from app.core.tenancy import TenantID, TenantRepository
from app.tenants.tables import TenantRow
from app.usage.tables import BudgetRow, StepUsageRow, UsageDayRow
from whetstone.contract.estimates import Price
from whetstone.contract.targets import HardwareClass
from whetstone.contract.usage import WorkUse

_DAY = func.date(func.timezone("UTC", StepUsageRow.finished_at))


class UseNotFound(AppError):
    """There is no such step among those that were metered."""

    code, status = "use_not_found", 404


class Span(NamedTuple):
    """Days (UTC), from the first to the one before the last."""

    since: date
    until: date


class Counted(NamedTuple):
    requests: int
    storage_bytes: int


class UsageRepository(TenantRepository[StepUsageRow]):
    row, missing = StepUsageRow, UseNotFound

    async def work(self, span: Span) -> dict[date, list[WorkUse]]:
        """What ended on each day, by hardware; work without a price apart from work with one."""
        columns = (_DAY.label("day"), StepUsageRow.hardware, StepUsageRow.currency)
        sums = (func.count().label("steps"), func.sum(StepUsageRow.seconds), func.sum(StepUsageRow.amount))
        query = select(*columns, *sums).where(
            StepUsageRow.tenant_id == self.tenant_id,
            StepUsageRow.finished_at >= midnight(span.since),
            StepUsageRow.finished_at < midnight(span.until),
        )
        found: dict[date, list[WorkUse]] = defaultdict(list)
        for day, hardware, currency, steps, seconds, amount in await self.session.execute(
            query.group_by(*columns).order_by(*columns)
        ):
            price = None if currency is None else Price(amount=amount, currency=currency)
            found[day].append(WorkUse(hardware=HardwareClass(hardware), steps=steps, seconds=seconds, price=price))
        return found

    async def days(self, span: Span) -> dict[date, Counted]:
        query = select(UsageDayRow).where(
            UsageDayRow.tenant_id == self.tenant_id, UsageDayRow.day >= span.since, UsageDayRow.day < span.until
        )
        return {row.day: Counted(row.requests, row.storage_bytes) for row in await self.session.scalars(query)}

    async def minutes(self, since: date, hardware: HardwareClass | None = None) -> float:
        """Of work that has ended since then, on one class of hardware or on all."""
        query = select(func.coalesce(func.sum(StepUsageRow.seconds), 0.0)).where(
            StepUsageRow.tenant_id == self.tenant_id, StepUsageRow.finished_at >= midnight(since)
        )
        seconds = await self.session.scalar(
            query if hardware is None else query.where(StepUsageRow.hardware == hardware)
        )
        return float(seconds or 0.0) / 60

    async def amount(self, since: date, currency: str) -> float:
        query = select(func.sum(StepUsageRow.amount)).where(
            StepUsageRow.tenant_id == self.tenant_id,
            StepUsageRow.finished_at >= midnight(since),
            StepUsageRow.currency == currency,
        )
        return await self.session.scalar(query) or 0.0

    async def stored_bytes(self) -> int:
        query = select(cast(func.coalesce(func.sum(FileRow.size), 0), BigInteger))
        return await self.session.scalar(query.where(FileRow.tenant_id == self.tenant_id)) or 0

    async def budget(self, *, for_update: bool = False) -> BudgetRow | None:
        query = select(BudgetRow).where(BudgetRow.tenant_id == self.tenant_id)
        found: BudgetRow | None = await self.session.scalar(query.with_for_update() if for_update else query)
        return found


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


async def plan_of(session: AsyncSession, tenant_id: TenantID) -> str | None:
    return await session.scalar(select(TenantRow.plan).where(TenantRow.id == tenant_id))


async def hold_tenant(session: AsyncSession, tenant_id: TenantID) -> None:
    """Until the transaction ends, whoever else counts against the tenant's quotas waits."""
    await session.execute(select(TenantRow.id).where(TenantRow.id == tenant_id).with_for_update(key_share=True))


async def add_requests_any_tenant(session: AsyncSession, counts: Iterable[tuple[str, date, int]]) -> None:
    """What a tenant asked for that has been deleted since is not written down."""
    found = sorted(counts)  # in one order everywhere, or two processes could wait for each other
    wanted = select(TenantRow.id).where(TenantRow.id.in_({tenant_id for tenant_id, _, _ in found}))
    there = set(await session.scalars(wanted))
    rows = [
        {"tenant_id": tenant_id, "day": day, "requests": count, "storage_bytes": 0}
        for tenant_id, day, count in found
        if tenant_id in there
    ]
    if not rows:
        return
    query = insert(UsageDayRow)
    more = {"requests": UsageDayRow.requests + query.excluded.requests}
    await session.execute(query.on_conflict_do_update(index_elements=["tenant_id", "day"], set_=more), rows)


async def note_storage_any_tenant(session: AsyncSession, day: date) -> None:
    """Raise each tenant's most of the day to what it stores now."""
    size = cast(func.sum(FileRow.size), BigInteger)
    now = (
        select(FileRow.tenant_id, literal(day), literal(0), size)
        .group_by(FileRow.tenant_id)
        .order_by(FileRow.tenant_id)
    )
    query = insert(UsageDayRow).from_select(["tenant_id", "day", "requests", "storage_bytes"], now)
    most = {"storage_bytes": func.greatest(UsageDayRow.storage_bytes, query.excluded.storage_bytes)}
    await session.execute(query.on_conflict_do_update(index_elements=["tenant_id", "day"], set_=most))
