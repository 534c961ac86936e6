from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Body
from fastapi.responses import Response

from app.core.database import Session
from app.core.errors import problems
from app.core.etags import ChangedMeanwhile, IfMatch
from app.core.pagination import InvalidCursor, Paging
from app.core.resources import SealerDep, SettingsDep
from app.identity.caller import GUARDED, Admin, Caller
from app.identity.once import ONCE, ONCE_ERRORS
from app.identity.routing import Route
from app.webhooks import service
from app.webhooks.repository import (
    DeliveryNotFound,
    DeliveryRepository,
    EventNotFound,
    EventRepository,
    WebhookNotFound,
    WebhookRepository,
)
from whetstone.contract.pages import Page
from whetstone.contract.types import DeliveryRef, EventRef, WebhookRef
from whetstone.contract.webhooks import (
    DeliveryRead,
    EventRead,
    RotateSecret,
    SecretRotated,
    WebhookChange,
    WebhookCreate,
    WebhookCreated,
    WebhookRead,
)

router = APIRouter(prefix="/v1", tags=["webhooks"], route_class=Route)

_EXAMPLE = WebhookCreate.model_validate({"url": "https://example.com/hooks", "events": ["job.succeeded"]})
_EXAMPLES = [_EXAMPLE.model_dump(mode="json")]


@router.post(
    "/webhooks",
    status_code=201,
    dependencies=[ONCE],
    responses=problems(*GUARDED, *ONCE_ERRORS, service.ForbiddenUrl, service.TooManyWebhooks),
)
async def create_webhook(
    wanted: Annotated[WebhookCreate, Body(examples=_EXAMPLES)],
    caller: Admin,
    session: Session,
    settings: SettingsDep,
    sealer: SealerDep,
) -> WebhookCreated:
    """Have events told to an address. The answer has the secret that verifies them, this once."""
    return await service.create(session, settings.webhooks, sealer, caller.tenant_id, wanted)


@router.get("/webhooks", responses=problems(*GUARDED, InvalidCursor))
async def list_webhooks(caller: Caller, session: Session, paging: Paging) -> Page[WebhookRead]:
    """Webhooks, newest first."""
    page = await WebhookRepository(session, caller.tenant_id).page(paging)
    return Page(items=tuple(service.read(row) for row in page.items), next_cursor=page.next_cursor)


@router.get("/webhooks/{webhook_id}", responses=problems(*GUARDED, WebhookNotFound))
async def get_webhook(webhook_id: WebhookRef, caller: Caller, session: Session) -> WebhookRead:
    """One webhook, and since when it fails if it does."""
    return service.read(await WebhookRepository(session, caller.tenant_id).get(webhook_id))


@router.patch(
    "/webhooks/{webhook_id}",
    responses=problems(*GUARDED, WebhookNotFound, service.ForbiddenUrl, ChangedMeanwhile),
)
async def change_webhook(
    webhook_id: WebhookRef,
    wanted: WebhookChange,
    caller: Admin,
    session: Session,
    settings: SettingsDep,
    expected: IfMatch,
) -> WebhookRead:
    """Change a webhook, or switch it off or on."""
    row = await WebhookRepository(session, caller.tenant_id).get(webhook_id, for_update=True)
    expected.check(service.read(row))
    await service.change(session, settings.webhooks, row, wanted)
    return service.read(row)


@router.delete(
    "/webhooks/{webhook_id}",
    status_code=204,
    response_class=Response,
    responses=problems(*GUARDED, WebhookNotFound, ChangedMeanwhile),
)
async def delete_webhook(webhook_id: WebhookRef, caller: Admin, session: Session, expected: IfMatch) -> None:
    """Delete a webhook with its log."""
    row = await WebhookRepository(session, caller.tenant_id).get(webhook_id, for_update=True)
    expected.check(service.read(row))
    await session.delete(row)


@router.post(
    "/webhooks/{webhook_id}/rotate-secret",
    dependencies=[ONCE],
    responses=problems(*GUARDED, *ONCE_ERRORS, WebhookNotFound),
)
async def rotate_secret(
    webhook_id: WebhookRef, wanted: RotateSecret, caller: Admin, session: Session, sealer: SealerDep
) -> SecretRotated:
    """Make a new secret. For a while messages are signed with both, so that receivers can change over."""
    row = await WebhookRepository(session, caller.tenant_id).get(webhook_id, for_update=True)
    return service.rotate(sealer, row, timedelta(hours=wanted.overlap_hours))


@router.post(
    "/webhooks/{webhook_id}/test",
    status_code=202,
    dependencies=[ONCE],
    responses=problems(*GUARDED, *ONCE_ERRORS, WebhookNotFound, service.WebhookDisabled),
)
async def test_webhook(webhook_id: WebhookRef, caller: Admin, session: Session) -> DeliveryRead:
    """Send a test event to this webhook; read the delivery to see what came of it."""
    row = await WebhookRepository(session, caller.tenant_id).get(webhook_id)
    return service.read_delivery(await service.try_out(session, row), ())


@router.get("/webhooks/{webhook_id}/deliveries", responses=problems(*GUARDED, WebhookNotFound, InvalidCursor))
async def list_deliveries(
    webhook_id: WebhookRef, caller: Caller, session: Session, paging: Paging
) -> Page[DeliveryRead]:
    """What was sent to a webhook and what it answered, newest first; kept for 30 days."""
    await WebhookRepository(session, caller.tenant_id).get(webhook_id)
    deliveries = DeliveryRepository(session, caller.tenant_id)
    page = await deliveries.page_of_webhook(webhook_id, paging)
    attempts = await deliveries.attempts(row.id for row in page.items)
    items = tuple(service.read_delivery(row, attempts[row.id]) for row in page.items)
    return Page(items=items, next_cursor=page.next_cursor)


@router.get("/deliveries/{delivery_id}", responses=problems(*GUARDED, DeliveryNotFound))
async def get_delivery(delivery_id: DeliveryRef, caller: Caller, session: Session) -> DeliveryRead:
    """One delivery with its attempts."""
    deliveries = DeliveryRepository(session, caller.tenant_id)
    row = await deliveries.get(delivery_id)
    return service.read_delivery(row, (await deliveries.attempts([row.id]))[row.id])


@router.post(
    "/deliveries/{delivery_id}/redeliver",
    status_code=202,
    dependencies=[ONCE],
    responses=problems(*GUARDED, *ONCE_ERRORS, DeliveryNotFound, service.WebhookDisabled),
)
async def redeliver(delivery_id: DeliveryRef, caller: Admin, session: Session) -> DeliveryRead:
    """Send the same event to the same webhook again, as a new delivery with the same `webhook-id`."""
    return service.read_delivery(await service.redeliver(session, caller.tenant_id, delivery_id), ())


@router.get("/events", responses=problems(*GUARDED, InvalidCursor))
async def list_events(caller: Caller, session: Session, paging: Paging) -> Page[EventRead]:
    """What happened in the last 30 days, newest first, whether or not a webhook was told."""
    page = await EventRepository(session, caller.tenant_id).page(paging)
    return Page(items=tuple(service.read_event(row) for row in page.items), next_cursor=page.next_cursor)


@router.get("/events/{event_id}", responses=problems(*GUARDED, EventNotFound))
async def get_event(event_id: EventRef, caller: Caller, session: Session) -> EventRead:
    """One event."""
    return service.read_event(await EventRepository(session, caller.tenant_id).get(event_id))
