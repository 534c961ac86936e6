"""What a tenant has used, put together."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import AppError
from app.core.tenancy import TenantID
from app.settings import Settings
from app.usage import quotas, repository
from app.usage.repository import Counted, Span, UsageRepository
from app.usage.tables import StepUsageRow
from whetstone.contract.estimates import Price
from whetstone.contract.jobs import StepKind
from whetstone.contract.targets import HardwareClass
from whetstone.contract.usage import StepUse, UsageDay, UsageRead, WorkUse

LONGEST = timedelta(days=400)
_NOTHING = Counted(0, 0)


class InvalidSpan(AppError):
    """`until` must be after `since`, by 400 days at most."""

    code, status = "invalid_span", 422
    hint = "Both are days (UTC): `since` is in, `until` is not."


def span_of(since: date | None, until: date | None) -> Span:
    """From the first of this month to tomorrow, unless told otherwise. Raises InvalidSpan."""
    today = datetime.now(UTC).date()
    span = Span(since or (until or today).replace(day=1), until or max(today, since or today) + timedelta(days=1))
    if not timedelta() < span.until - span.since <= LONGEST:
        raise InvalidSpan
    return span


async def read(session: AsyncSession, settings: Settings, tenant_id: TenantID, span: Span) -> UsageRead:
    usage = UsageRepository(session, tenant_id)
    work, counted = await usage.work(span), await usage.days(span)
    today = datetime.now(UTC).date()
    if span.since <= today < span.until:  # the last note may be minutes old
        now, noted = await usage.stored_bytes(), counted.get(today, _NOTHING)
        counted[today] = noted._replace(storage_bytes=max(noted.storage_bytes, now))
    plan = await repository.plan_of(session, tenant_id)
    return UsageRead(
        plan=settings.plan(plan),
        quotas=await quotas.uses(session, tenant_id, settings.quotas(plan)),
        since=span.since,
        until=span.until,
        work=_summed(use for uses in work.values() for use in uses),
        requests=sum(each.requests for each in counted.values()),
        days=tuple(_day(day, work.get(day, ()), counted.get(day, _NOTHING)) for day in sorted({*work, *counted})),
    )


def _day(day: date, work: Iterable[WorkUse], counted: Counted) -> UsageDay:
    return UsageDay(day=day, work=tuple(work), requests=counted.requests, storage_bytes=counted.storage_bytes)


def _summed(uses: Iterable[WorkUse]) -> tuple[WorkUse, ...]:
    """By hardware and currency."""
    groups: dict[tuple[HardwareClass, str], list[WorkUse]] = defaultdict(list)
    for use in uses:
        groups[use.hardware, use.price.currency if use.price else ""].append(use)
    return tuple(_sum(hardware, currency, group) for (hardware, currency), group in sorted(groups.items()))


def _sum(hardware: HardwareClass, currency: str, group: list[WorkUse]) -> WorkUse:
    amount = sum(use.price.amount for use in group if use.price)
    return WorkUse(
        hardware=hardware,
        steps=sum(use.steps for use in group),
        seconds=sum(use.seconds for use in group),
        price=Price(amount=amount, currency=currency) if currency else None,
    )


def read_step(row: StepUsageRow) -> StepUse:
    return StepUse(
        step_id=row.id,
        subject_id=row.subject_id,
        kind=StepKind(row.kind),
        hardware=HardwareClass(row.hardware),
        started_at=row.started_at,
        finished_at=row.finished_at,
        seconds=row.seconds,
        price=None if row.amount is None or row.currency is None else Price(amount=row.amount, currency=row.currency),
    )
