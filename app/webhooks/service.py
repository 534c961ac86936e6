"""Webhooks: made, changed, told of events."""

import base64
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import httpx
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.bell import ring
from app.core.errors import AppError
from app.core.ids import Prefix, new_id
from app.core.sealing import Sealer
from app.core.tenancy import TenantID
from app.settings import WebhookSettings
from app.webhooks.network import Guard
from app.webhooks.repository import DeliveryRepository, EventRepository, WebhookRepository
from app.webhooks.tables import AttemptRow, DeliveryRow, EventRow, StoredSecret, WebhookRow
from whetstone.contract.webhooks import (
    AttemptRead,
    DeliveryRead,
    DeliveryState,
    EventRead,
    Notice,
    SecretRotated,
    WebhookChange,
    WebhookCreate,
    WebhookCreated,
    WebhookKind,
    WebhookNotice,
    WebhookRead,
)

TOPIC = "webhooks"
MOST_WEBHOOKS = 50
_SECRET_BYTES = 32


class ForbiddenUrl(AppError):
    """Webhooks go to https addresses on the public internet."""

    code, status = "forbidden_url", 422
    hint = "Use an https:// address of a public host, without a user name; an operator can allow others."


class TooManyWebhooks(AppError):
    """The tenant has as many webhooks as it may have."""

    code, status = "too_many_webhooks", 409
    hint = "Delete one that you no longer need."


class WebhookDisabled(AppError):
    """The webhook is switched off."""

    code, status = "webhook_disabled", 409
    hint = "Switch it on again first: PATCH with enabled true."


def guard_of(settings: WebhookSettings) -> Guard:
    return Guard(settings.allowed_networks)


def check_url(settings: WebhookSettings, url: str) -> None:
    """What can be refused before anything is sent; where a name leads is seen at each connection."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ForbiddenUrl(f"This is no address: {error}") from error
    if parts.scheme != "https" and not settings.allow_http:
        raise ForbiddenUrl
    if parts.userinfo or not parts.host or not guard_of(settings).permits_host(parts.host):
        raise ForbiddenUrl


async def create(
    session: AsyncSession, settings: WebhookSettings, sealer: Sealer, tenant_id: TenantID, wanted: WebhookCreate
) -> WebhookCreated:
    check_url(settings, wanted.url)
    if await WebhookRepository(session, tenant_id).count() >= MOST_WEBHOOKS:
        raise TooManyWebhooks
    secret = _new_secret()
    row = WebhookRow(
        id=new_id(Prefix.WEBHOOK),
        tenant_id=tenant_id,
        url=wanted.url,
        events=wanted.events,
        description=wanted.description,
        secrets=(_stored(sealer, secret),),
        enabled=True,
    )
    session.add(row)
    await session.flush()  # the answer shows created_at
    await session.refresh(row)
    return WebhookCreated(**dict(read(row)), secret=secret)


async def change(session: AsyncSession, settings: WebhookSettings, row: WebhookRow, wanted: WebhookChange) -> None:
    """The row must be locked."""
    if wanted.url is not None:
        check_url(settings, wanted.url)
        row.url = wanted.url
    row.events = row.events if wanted.events is None else wanted.events
    row.description = row.description if wanted.description is None else wanted.description
    if wanted.enabled:
        row.enabled, row.disabled_reason, row.failing_since = True, None, None
    elif wanted.enabled is False:
        await switch_off(session, row, "switched off by a user")


async def switch_off(session: AsyncSession, row: WebhookRow, reason: str) -> None:
    """The row must be locked. What still waits for it is given up."""
    row.enabled, row.disabled_reason = False, reason
    await DeliveryRepository(session, TenantID(row.tenant_id)).give_up(row.id)


def rotate(sealer: Sealer, row: WebhookRow, overlap: timedelta) -> SecretRotated:
    """The row must be locked. Earlier secrets keep the time they were given, the last one gets `overlap`."""
    now, secret = datetime.now(UTC), _new_secret()
    until = now + overlap
    kept = (stored.model_copy(update={"until": stored.until or until}) for stored in _in_force(row, now))
    row.secrets = (_stored(sealer, secret), *kept)
    return SecretRotated(secret=secret, previous_until=until)


def signing_secrets(sealer: Sealer, row: WebhookRow) -> tuple[str, ...]:
    found = _in_force(row, datetime.now(UTC))
    return tuple(sealer.open(stored.sealed.encode()).decode() for stored in found)


def _in_force(row: WebhookRow, now: datetime) -> list[StoredSecret]:
    return [stored for stored in row.secrets if stored.until is None or stored.until > now]


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def _stored(sealer: Sealer, secret: str) -> StoredSecret:
    return StoredSecret(sealed=sealer.seal(secret.encode()).decode())


async def emit(session: AsyncSession, tenant_id: TenantID, kind: WebhookKind, data: Notice) -> None:
    """Store the event and queue its deliveries, in the transaction that made it happen."""
    listening = await WebhookRepository(session, tenant_id).listening(kind)
    await _queue(session, await _store(session, tenant_id, kind, data), listening)


async def try_out(session: AsyncSession, row: WebhookRow) -> DeliveryRow:
    """Send a test event to this webhook alone. Raises WebhookDisabled."""
    if not row.enabled:
        raise WebhookDisabled
    data = WebhookNotice(webhook_id=row.id, url=row.url, reason="This is a test.")
    event = await _store(session, TenantID(row.tenant_id), WebhookKind.WEBHOOK_TEST, data)
    return (await _queue(session, event, [row]))[0]


async def redeliver(session: AsyncSession, tenant_id: TenantID, delivery_id: str) -> DeliveryRow:
    """Send the same event to the same webhook once more, as a delivery of its own. Raises WebhookDisabled."""
    old = await DeliveryRepository(session, tenant_id).get(delivery_id)
    row = await WebhookRepository(session, tenant_id).get(old.webhook_id)
    if not row.enabled:
        raise WebhookDisabled
    event = await EventRepository(session, tenant_id).get(old.event_id)
    return (await _queue(session, event, [row]))[0]


async def _store(session: AsyncSession, tenant_id: TenantID, kind: WebhookKind, data: Notice) -> EventRow:
    event = EventRow(id=new_id(Prefix.EVENT), tenant_id=tenant_id, kind=kind, data=data)
    session.add(event)
    await session.flush()  # deliveries refer to it
    return event


async def _queue(session: AsyncSession, event: EventRow, webhooks: Iterable[WebhookRow]) -> list[DeliveryRow]:
    rows = [
        DeliveryRow(
            id=new_id(Prefix.DELIVERY),
            tenant_id=event.tenant_id,
            webhook_id=webhook.id,
            event_id=event.id,
            kind=event.kind,
            state=DeliveryState.PENDING,
            attempts=0,
            due_at=datetime.now(UTC),
        )
        for webhook in webhooks
    ]
    session.add_all(rows)
    await session.flush()  # answers show created_at
    if rows:
        await ring(session, TOPIC)
    return rows


def read(row: WebhookRow) -> WebhookRead:
    return WebhookRead(
        id=row.id,
        url=row.url,
        events=row.events,
        description=row.description,
        enabled=row.enabled,
        disabled_reason=row.disabled_reason,
        failing_since=row.failing_since,
        created_at=row.created_at,
    )


def read_event(row: EventRow) -> EventRead:
    return EventRead(id=row.id, kind=WebhookKind(row.kind), data=row.data, created_at=row.created_at)


def read_delivery(row: DeliveryRow, attempts: Iterable[AttemptRow]) -> DeliveryRead:
    return DeliveryRead(
        id=row.id,
        webhook_id=row.webhook_id,
        event_id=row.event_id,
        kind=WebhookKind(row.kind),
        state=DeliveryState(row.state),
        attempts=tuple(
            AttemptRead(
                number=attempt.number,
                at=attempt.at,
                milliseconds=attempt.milliseconds,
                status=attempt.status,
                error=attempt.error,
                answer=attempt.answer,
            )
            for attempt in attempts
        ),
        next_attempt_at=row.due_at,
        created_at=row.created_at,
    )
