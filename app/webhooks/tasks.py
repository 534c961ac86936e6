"""What the control worker does for webhooks: send what is due, note what came of it, forget what is old.

A delivery is claimed under a lease before it is sent and settled after, each in its own transaction. A sender that dies
in between is found out when the lease ends, and the message is sent again: at least once, never lost. Receivers know
a repetition by its `webhook-id`.
"""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.core import scope
from app.core.bell import Bell
from app.core.sealing import Sealer
from app.core.tenancy import TenantID
from app.settings import WebhookSettings
from app.webhooks import repository, service
from app.webhooks.sender import MOST_CONNECTIONS, Outcome, Parcel, Sender
from app.webhooks.tables import AttemptRow, DeliveryRow, EventRow, WebhookRow
from whetstone.contract.webhooks import DeliveryState, WebhookKind, WebhookMessage, WebhookNotice

MOST_EACH = 5  # at once to one webhook, so that a slow one does not hold up the others
IDLE_SECONDS = 5.0
BUSY_SECONDS = 0.2
LEASE_GRACE = timedelta(seconds=30)
EVENTS_KEPT = timedelta(days=30)
_JITTER = 0.2
_GONE = 410
_LONGEST_RETRY_AFTER = 3600.0
log = structlog.get_logger()


class Postman:
    """Sends deliveries, many at once. Any number of them may run, in any number of processes."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], sealer: Sealer, sender: Sender, settings: WebhookSettings
    ) -> None:
        self._sessions = sessions
        self._sealer = sealer
        self._sender = sender
        self._settings = settings
        self._under_way: Counter[str] = Counter()

    async def run(self, bell: Bell) -> None:
        """Send what is due, until cancelled."""
        async with bell.listening(service.TOPIC) as ear, asyncio.TaskGroup() as tasks:
            while True:
                parcels = await self._claim()
                for parcel in parcels:
                    self._under_way[parcel.webhook_id] += 1
                    tasks.create_task(self._deliver(parcel))
                if not parcels:
                    await ear.wait(await self._pause())

    async def _claim(self) -> list[Parcel]:
        free = MOST_CONNECTIONS - self._under_way.total()
        if free <= 0:
            return []
        lease = timedelta(seconds=self._settings.timeout_seconds) + LEASE_GRACE
        async with self._sessions.begin() as session:
            rows = await repository.claim_any_tenant(session, datetime.now(UTC), self._busy(), free, MOST_EACH, lease)
            return [self._parcel(*row) for row in rows]

    def _busy(self) -> list[str]:
        return [webhook_id for webhook_id, count in self._under_way.items() if count >= MOST_EACH]

    async def _pause(self) -> float:
        """Until the next delivery is due, or a slot may have become free."""
        if self._under_way.total():
            return BUSY_SECONDS
        async with self._sessions() as session:
            due = await repository.next_due_any_tenant(session, ())
        return IDLE_SECONDS if due is None else min(max((due - datetime.now(UTC)).total_seconds(), 0), IDLE_SECONDS)

    def _parcel(self, delivery: DeliveryRow, webhook: WebhookRow, event: EventRow) -> Parcel:
        message = WebhookMessage(type=WebhookKind(event.kind), timestamp=event.created_at, data=event.data)
        return Parcel(
            delivery_id=delivery.id,
            webhook_id=webhook.id,
            tenant_id=webhook.tenant_id,
            number=delivery.attempts,
            url=webhook.url,
            secrets=service.signing_secrets(self._sealer, webhook),
            event_id=event.id,
            body=message.model_dump_json().encode(),
        )

    async def _deliver(self, parcel: Parcel) -> None:
        try:
            outcome = await self._sender.send(parcel)
            with scope.tenant(parcel.tenant_id):
                async with self._sessions.begin() as session:
                    await settle(session, self._settings, parcel, outcome)
        except Exception:  # the database may be away; the lease ends and the delivery is sent again
            log.exception("a delivery could not be settled", delivery_id=parcel.delivery_id)
        finally:
            self._under_way[parcel.webhook_id] -= 1
            self._under_way += Counter()  # drops those at zero


async def settle(session: AsyncSession, settings: WebhookSettings, parcel: Parcel, outcome: Outcome) -> None:
    """Note the attempt, and decide what follows. The webhook is locked first, as everywhere."""
    webhook = await session.scalar(select(WebhookRow).where(WebhookRow.id == parcel.webhook_id).with_for_update())
    delivery = await session.get(DeliveryRow, parcel.delivery_id, with_for_update=True)
    if webhook is None or delivery is None:  # deleted while it was being sent
        return
    session.add(
        AttemptRow(
            delivery_id=delivery.id,
            number=parcel.number,
            tenant_id=delivery.tenant_id,
            at=outcome.at,
            milliseconds=outcome.milliseconds,
            status=outcome.status,
            error=outcome.error,
            answer=outcome.answer,
        )
    )
    if outcome.delivered:
        delivery.state, delivery.due_at = DeliveryState.SUCCEEDED, None
        webhook.failing_since = None
    elif delivery.state == DeliveryState.PENDING:
        await _failed(session, settings, webhook, delivery, outcome)


async def _failed(
    session: AsyncSession, settings: WebhookSettings, webhook: WebhookRow, delivery: DeliveryRow, outcome: Outcome
) -> None:
    webhook.failing_since = webhook.failing_since or outcome.at
    if delivery.attempts > len(settings.retry_seconds):
        delivery.state, delivery.due_at = DeliveryState.FAILED, None
    else:
        delivery.due_at = outcome.at + timedelta(seconds=_delay(settings, delivery.attempts, outcome))
    patience = timedelta(hours=settings.disable_after_hours)
    if outcome.status == _GONE:
        await _disable(session, webhook, "the receiver answered 410 Gone")
    elif outcome.at - webhook.failing_since >= patience:
        await _disable(session, webhook, f"nothing was received for {settings.disable_after_hours:g} hours")


def _delay(settings: WebhookSettings, attempts: int, outcome: Outcome) -> float:
    """Seconds until the next attempt: by the schedule, spread by chance, not before the receiver wants it."""
    planned = settings.retry_seconds[attempts - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, protects nothing
    return max(planned, min(outcome.retry_after, _LONGEST_RETRY_AFTER))


async def _disable(session: AsyncSession, webhook: WebhookRow, reason: str) -> None:
    await service.switch_off(session, webhook, reason)
    await session.flush()  # the notice goes to the tenant's other webhooks only
    data = WebhookNotice(webhook_id=webhook.id, url=webhook.url, reason=reason)
    await service.emit(session, TenantID(webhook.tenant_id), WebhookKind.WEBHOOK_DISABLED, data)


async def sweep(session: AsyncSession) -> None:
    """Forget old events with their deliveries."""
    await repository.forget_any_tenant(session, datetime.now(UTC) - EVENTS_KEPT, 1000)
