"""Metering: what a step took, from its claim to its end, and whether that reached the budget."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.tenancy import TenantID
from app.settings import Settings
from app.usage import budgets
from app.usage.pricing import price
from app.usage.tables import StepUsageRow
from whetstone.contract.jobs import StepKind
from whetstone.contract.targets import HardwareClass


@dataclass(frozen=True)
class Work:
    """A step's last attempt. Time in a queue, and attempts before it that were lost, are no part of it."""

    step_id: str
    subject_id: str
    kind: StepKind
    hardware: HardwareClass
    claimed_at: datetime
    ended_at: datetime


async def record(session: AsyncSession, settings: Settings, tenant_id: TenantID, work: Work) -> None:
    """Note it, at today's price, in the transaction that ends the step; tell of a budget that this reaches."""
    seconds = (work.ended_at - work.claimed_at).total_seconds()
    cost = price(settings, work.hardware, seconds)
    session.add(
        StepUsageRow(
            id=work.step_id,
            tenant_id=tenant_id,
            subject_id=work.subject_id,
            kind=work.kind,
            hardware=work.hardware,
            started_at=work.claimed_at,
            finished_at=work.ended_at,
            seconds=seconds,
            amount=cost and cost.amount,
            currency=cost and cost.currency,
        )
    )
    await session.flush()  # the budget counts it
    await budgets.look(session, settings, tenant_id, datetime.now(UTC))
