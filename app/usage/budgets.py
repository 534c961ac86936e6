"""Budgets: how much a month may take, and who is told when it does."""

from datetime import UTC, date, datetime
from typing import assert_never

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import AppError
from app.core.tenancy import TenantID
from app.settings import Settings
from app.usage.pricing import NoPrices
from app.usage.quotas import month_of
from app.usage.repository import UsageRepository
from app.usage.tables import BudgetRow
from app.webhooks import service as webhooks
from whetstone.contract.usage import BudgetRead, BudgetSet, Measure
from whetstone.contract.webhooks import BudgetNotice, WebhookKind


class BudgetNotFound(AppError):
    """No budget is set."""

    code, status = "budget_not_found", 404
    hint = "Set one: PUT /v1/usage/budget."


async def read(session: AsyncSession, settings: Settings, tenant_id: TenantID) -> BudgetRead:
    """Raises BudgetNotFound."""
    return await _shown(session, settings, tenant_id, await _found(session, tenant_id))


async def put(session: AsyncSession, settings: Settings, tenant_id: TenantID, wanted: BudgetSet) -> BudgetRead:
    """Set or replace the budget; it tells anew of what is reached from now on. Raises NoPrices."""
    if wanted.measure is Measure.MONEY and not settings.prices:
        raise NoPrices
    values = {**wanted.model_dump(), "told_month": None, "told": None}
    query = insert(BudgetRow).values(tenant_id=tenant_id, **values)
    await session.execute(query.on_conflict_do_update(index_elements=["tenant_id"], set_=values))
    return await read(session, settings, tenant_id)


async def remove(session: AsyncSession, tenant_id: TenantID) -> None:
    """Raises BudgetNotFound."""
    await session.delete(await _found(session, tenant_id))


async def look(session: AsyncSession, settings: Settings, tenant_id: TenantID, now: datetime) -> None:
    """Tell the webhooks of the largest share that this month has reached, once for each share and month."""
    row = await UsageRepository(session, tenant_id).budget(for_update=True)
    if row is None:
        return
    month, measure = month_of(now), Measure(row.measure)
    spent = await _spent(session, settings, tenant_id, measure, month)
    told = row.told or 0.0 if row.told_month == month else 0.0
    reached = max((share for share in row.alert_at if spent >= share * row.monthly), default=0.0)
    if reached <= told:
        return
    row.told_month, row.told = month, reached
    notice = BudgetNotice(month=month, measure=measure, monthly=row.monthly, spent=spent, share=reached)
    await webhooks.emit(session, tenant_id, WebhookKind.BUDGET_REACHED, notice)


async def _found(session: AsyncSession, tenant_id: TenantID) -> BudgetRow:
    row = await UsageRepository(session, tenant_id).budget()
    if row is None:
        raise BudgetNotFound
    return row


async def _shown(session: AsyncSession, settings: Settings, tenant_id: TenantID, row: BudgetRow) -> BudgetRead:
    month, measure = month_of(datetime.now(UTC)), Measure(row.measure)
    spent = await _spent(session, settings, tenant_id, measure, month)
    return BudgetRead(measure=measure, monthly=row.monthly, alert_at=row.alert_at, month=month, spent=spent)


async def _spent(
    session: AsyncSession, settings: Settings, tenant_id: TenantID, measure: Measure, month: date
) -> float:
    usage = UsageRepository(session, tenant_id)
    match measure:
        case Measure.MONEY:
            return await usage.amount(month, settings.currency)
        case Measure.MINUTES:
            return await usage.minutes(month)
        case _:
            assert_never(measure)
