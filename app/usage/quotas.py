"""Quotas: refused as early as can be known, with what is used, what is allowed, and what to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app.artifacts.transfers import announced_bytes
from app.core.errors import AppError
from app.core.tenancy import TenantID
from app.settings import Settings
from app.usage import repository
from app.usage.repository import UsageRepository
from whetstone.contract.quotas import Quotas, QuotaUse, Resource
from whetstone.contract.targets import HardwareClass


class QuotaExceeded(AppError):
    """The tenant's plan does not allow this much."""

    code, status = "quota_exceeded", 403
    hint = "`GET /v1/usage` shows what is used of each quota. Ask the operator for a larger plan."


_ADVICE = {
    Resource.STORAGE_BYTES: "Delete models and datasets that no job refers to, or ask the operator for a larger plan.",
    Resource.MINUTES_A_MONTH: "Wait for the next month (UTC), or ask the operator for a larger plan.",
}


@dataclass(frozen=True)
class Room:
    """How many bytes may still be stored; `left` None is no limit."""

    left: int | None
    used: int = 0
    limit: int = 0

    def check(self, size: int) -> None:
        """Raises QuotaExceeded."""
        if self.left is not None and size > self.left:
            raise self.exceeded(size)

    def exceeded(self, size: int | None = None) -> QuotaExceeded:
        asked = "more were sent" if size is None else f"{size} more were asked for"
        detail = f"The plan allows {self.limit} bytes of storage, {self.used} are used, and {asked}."
        use = QuotaUse(resource=Resource.STORAGE_BYTES, limit=self.limit, used=self.used)
        return QuotaExceeded(detail, hint=_ADVICE[Resource.STORAGE_BYTES], quota=use)


async def quotas_of(session: AsyncSession, settings: Settings, tenant_id: TenantID) -> Quotas:
    return settings.quotas(await repository.plan_of(session, tenant_id))


async def room(session: AsyncSession, settings: Settings, tenant_id: TenantID, *, hold: bool = False) -> Room:
    """What the plan leaves for files; with `hold` nobody else stores anything until the transaction ends."""
    limit = (await quotas_of(session, settings, tenant_id)).storage_bytes
    if limit is None:
        return Room(None)
    if hold:
        await repository.hold_tenant(session, tenant_id)
    used = await UsageRepository(session, tenant_id).stored_bytes() + await announced_bytes(session, tenant_id)
    return Room(max(0, limit - used), used, limit)


async def check_order(
    session: AsyncSession, settings: Settings, tenant_id: TenantID, hardware: Iterable[HardwareClass]
) -> None:
    """Whether work on this hardware may be ordered: minutes are left, and so is room for results. Raises QuotaExceeded.

    An order that was taken is carried out, even if it goes beyond what was left.
    """
    usage = UsageRepository(session, tenant_id)
    allowed = (await quotas_of(session, settings, tenant_id)).minutes_a_month
    for each in sorted(allowed.keys() & set(hardware)):
        used = await usage.minutes(month_of(datetime.now(UTC)), each)
        if used >= allowed[each]:
            raise _out_of_minutes(each, allowed[each], used)
    (await room(session, settings, tenant_id)).check(1)


def _out_of_minutes(hardware: HardwareClass, limit: float, used: float) -> QuotaExceeded:
    detail = f"The plan allows {limit:g} minutes of work on {hardware} a month, and {used:.1f} are used."
    use = QuotaUse(resource=Resource.MINUTES_A_MONTH, hardware=hardware, limit=limit, used=used)
    return QuotaExceeded(detail, hint=_ADVICE[Resource.MINUTES_A_MONTH], quota=use)


async def uses(session: AsyncSession, tenant_id: TenantID, quotas: Quotas) -> tuple[QuotaUse, ...]:
    """How much of each limit is used by now."""
    usage, month = UsageRepository(session, tenant_id), month_of(datetime.now(UTC))
    found = [
        QuotaUse(resource=Resource.MINUTES_A_MONTH, hardware=each, limit=limit, used=await usage.minutes(month, each))
        for each, limit in sorted(quotas.minutes_a_month.items())
    ]
    if quotas.storage_bytes is not None:
        used = await usage.stored_bytes()
        found.append(QuotaUse(resource=Resource.STORAGE_BYTES, limit=quotas.storage_bytes, used=used))
    for resource in (Resource.STEPS_AT_ONCE, Resource.REQUESTS_A_MINUTE):
        limit = getattr(quotas, resource)
        if limit is not None:
            found.append(QuotaUse(resource=resource, limit=limit, used=None))
    return tuple(found)


def month_of(moment: datetime) -> date:
    """The first day of the calendar month."""
    return moment.date().replace(day=1)
