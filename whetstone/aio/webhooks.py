"""Written by `python -m scripts.async_client` from whetstone/webhooks.py: change that."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from whetstone.contract.webhooks import (
    DeliveryRead,
    EventRead,
    RotateSecret,
    SecretRotated,
    WebhookChange,
    WebhookCreate,
    WebhookCreated,
    WebhookKind,
    WebhookRead,
)
from whetstone.webhooks import PATH

if TYPE_CHECKING:
    from whetstone.aio.client import AsyncClient


class Webhooks:
    """Where the service tells what happened, and what came of telling it."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def create(self, url: str, events: tuple[WebhookKind, ...] = (), description: str = "") -> WebhookCreated:
        """Every kind of event unless `events` names some. Keep the answer's `secret`: it is shown this once."""
        body = WebhookCreate(url=url, events=events, description=description)
        return WebhookCreated.model_validate_json((await self._client.request("POST", PATH, body)).content)

    def list(self) -> AsyncIterator[WebhookRead]:
        """All, newest first, page by page."""
        return self._client.pages(PATH, WebhookRead)

    async def get(self, webhook_id: str) -> WebhookRead:
        return WebhookRead.model_validate_json((await self._client.request("GET", f"{PATH}/{webhook_id}")).content)

    async def change(self, webhook_id: str, wanted: WebhookChange) -> WebhookRead:
        answer = await self._client.request("PATCH", f"{PATH}/{webhook_id}", wanted)
        return WebhookRead.model_validate_json(answer.content)

    async def delete(self, webhook_id: str) -> None:
        await self._client.request("DELETE", f"{PATH}/{webhook_id}")

    async def rotate_secret(self, webhook_id: str, overlap_hours: float = 24) -> SecretRotated:
        """A new secret; messages carry signatures of both for so many hours."""
        body = RotateSecret(overlap_hours=overlap_hours)
        answer = await self._client.request("POST", f"{PATH}/{webhook_id}/rotate-secret", body)
        return SecretRotated.model_validate_json(answer.content)

    async def test(self, webhook_id: str) -> DeliveryRead:
        """Send a test event; read the delivery to see what came of it."""
        return await self._delivery("POST", f"{PATH}/{webhook_id}/test")

    def deliveries(self, webhook_id: str) -> AsyncIterator[DeliveryRead]:
        """What was sent and answered, newest first; kept for 30 days."""
        return self._client.pages(f"{PATH}/{webhook_id}/deliveries", DeliveryRead)

    async def delivery(self, delivery_id: str) -> DeliveryRead:
        return await self._delivery("GET", f"/v1/deliveries/{delivery_id}")

    async def redeliver(self, delivery_id: str) -> DeliveryRead:
        """Send the same event again, as a new delivery."""
        return await self._delivery("POST", f"/v1/deliveries/{delivery_id}/redeliver")

    def events(self) -> AsyncIterator[EventRead]:
        """What happened in the last 30 days, newest first, whether or not a webhook was told."""
        return self._client.pages("/v1/events", EventRead)

    async def _delivery(self, method: str, path: str) -> DeliveryRead:
        return DeliveryRead.model_validate_json((await self._client.request(method, path)).content)
