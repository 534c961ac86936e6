"""All SQL of webhooks."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.expression import cast

from app.core.errors import AppError
from app.core.pagination import Cursor
from app.core.tenancy import TenantRepository
from app.webhooks.tables import AttemptRow, DeliveryRow, EventRow, WebhookRow
from whetstone.contract.pages import Page
from whetstone.contract.webhooks import DeliveryState, WebhookKind


class WebhookNotFound(AppError):
    """There is no such webhook."""

    code, status = "webhook_not_found", 404


class EventNotFound(AppError):
    """There is no such event, or it is older than 30 days."""

    code, status = "event_not_found", 404


class DeliveryNotFound(AppError):
    """There is no such delivery, or its event is older than 30 days."""

    code, status = "delivery_not_found", 404


class WebhookRepository(TenantRepository[WebhookRow]):
    row, missing = WebhookRow, WebhookNotFound

    async def count(self) -> int:
        return await self.session.scalar(select(func.count()).select_from(self.query().subquery())) or 0

    async def listening(self, kind: WebhookKind) -> list[WebhookRow]:
        """Those that are told of this kind of event."""
        events = cast(WebhookRow.events, JSONB)
        wanted = or_(events == cast([], JSONB), events.contains([kind]))
        return list(await self.session.scalars(self.query().where(WebhookRow.enabled, wanted)))


class EventRepository(TenantRepository[EventRow]):
    row, missing = EventRow, EventNotFound


class DeliveryRepository(TenantRepository[DeliveryRow]):
    row, missing = DeliveryRow, DeliveryNotFound

    async def page_of_webhook(self, webhook_id: str, cursor: Cursor) -> Page[Any]:
        return await self.page(cursor, self.query().where(DeliveryRow.webhook_id == webhook_id))

    async def attempts(self, delivery_ids: Iterable[str]) -> dict[str, list[AttemptRow]]:
        """What was tried so far, of many deliveries at once."""
        found: dict[str, list[AttemptRow]] = {delivery_id: [] for delivery_id in delivery_ids}
        query = select(AttemptRow).where(AttemptRow.tenant_id == self.tenant_id, AttemptRow.delivery_id.in_(found))
        for row in await self.session.scalars(query.order_by(AttemptRow.number)):
            found[row.delivery_id].append(row)
        return found

    async def give_up(self, webhook_id: str) -> None:
        """Nothing that still waits will be sent."""
        waiting = DeliveryRow.state == DeliveryState.PENDING
        mine = (DeliveryRow.tenant_id == self.tenant_id, DeliveryRow.webhook_id == webhook_id)
        await self.session.execute(
            update(DeliveryRow).where(*mine, waiting).values(state=DeliveryState.FAILED, due_at=None)
        )


async def claim_any_tenant(
    session: AsyncSession, now: datetime, busy: Iterable[str], limit: int, most_each: int, lease: timedelta
) -> list[tuple[DeliveryRow, WebhookRow, EventRow]]:
    """Deliveries that are due, `most_each` of a webhook, now this sender's for the length of the lease."""
    due = DeliveryRow.state == DeliveryState.PENDING, DeliveryRow.due_at <= now
    query = (
        select(DeliveryRow, WebhookRow, EventRow)
        .join(WebhookRow, WebhookRow.id == DeliveryRow.webhook_id)
        .join(EventRow, EventRow.id == DeliveryRow.event_id)
        .where(*due, DeliveryRow.webhook_id.not_in(list(busy)))
    )
    query = query.order_by(DeliveryRow.due_at).limit(limit).with_for_update(of=DeliveryRow, skip_locked=True)
    counts: Counter[str] = Counter()
    claimed = []
    for delivery, webhook, event in (await session.execute(query)).tuples():
        counts[webhook.id] += 1
        if counts[webhook.id] <= most_each:
            delivery.attempts += 1
            delivery.due_at = now + lease
            claimed.append((delivery, webhook, event))
    return claimed


async def next_due_any_tenant(session: AsyncSession, busy: Iterable[str]) -> datetime | None:
    query = select(func.min(DeliveryRow.due_at)).where(
        DeliveryRow.state == DeliveryState.PENDING, DeliveryRow.webhook_id.not_in(list(busy))
    )
    return await session.scalar(query)


async def forget_any_tenant(session: AsyncSession, before: datetime, limit: int) -> None:
    """Delete old events; their deliveries and attempts go with them."""
    old = select(EventRow.id).where(EventRow.created_at < before).limit(limit).with_for_update(skip_locked=True)
    await session.execute(delete(EventRow).where(EventRow.id.in_(old)))
