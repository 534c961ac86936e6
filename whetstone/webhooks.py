"""Webhooks, from the client's side: `client.webhooks`."""

from collections.abc import Iterator
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

if TYPE_CHECKING:
    from whetstone.client import Client

PATH = "/v1/webhooks"


class Webhooks:
    """Where the service tells what happened, and what came of telling it."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def create(self, url: str, events: tuple[WebhookKind, ...] = (), description: str = "") -> WebhookCreated:
        """Every kind of event unless `events` names some. Keep the answer's `secret`: it is shown this once."""
        body = WebhookCreate(url=url, events=events, description=description)
        return WebhookCreated.model_validate_json(self._client.request("POST", PATH, body).content)

    def list(self) -> Iterator[WebhookRead]:
        """All, newest first, page by page."""
        return self._client.pages(PATH, WebhookRead)

    def get(self, webhook_id: str) -> WebhookRead:
        return WebhookRead.model_validate_json(self._client.request("GET", f"{PATH}/{webhook_id}").content)

    def change(self, webhook_id: str, wanted: WebhookChange) -> WebhookRead:
        answer = self._client.request("PATCH", f"{PATH}/{webhook_id}", wanted)
        return WebhookRead.model_validate_json(answer.content)

    def delete(self, webhook_id: str) -> None:
        self._client.request("DELETE", f"{PATH}/{webhook_id}")

    def rotate_secret(self, webhook_id: str, overlap_hours: float = 24) -> SecretRotated:
        """A new secret; messages carry signatures of both for so many hours."""
        body = RotateSecret(overlap_hours=overlap_hours)
        answer = self._client.request("POST", f"{PATH}/{webhook_id}/rotate-secret", body)
        return SecretRotated.model_validate_json(answer.content)

    def test(self, webhook_id: str) -> DeliveryRead:
        """Send a test event; read the delivery to see what came of it."""
        return self._delivery("POST", f"{PATH}/{webhook_id}/test")

    def deliveries(self, webhook_id: str) -> Iterator[DeliveryRead]:
        """What was sent and answered, newest first; kept for 30 days."""
        return self._client.pages(f"{PATH}/{webhook_id}/deliveries", DeliveryRead)

    def delivery(self, delivery_id: str) -> DeliveryRead:
        return self._delivery("GET", f"/v1/deliveries/{delivery_id}")

    def redeliver(self, delivery_id: str) -> DeliveryRead:
        """Send the same event again, as a new delivery."""
        return self._delivery("POST", f"/v1/deliveries/{delivery_id}/redeliver")

    def events(self) -> Iterator[EventRead]:
        """What happened in the last 30 days, newest first, whether or not a webhook was told."""
        return self._client.pages("/v1/events", EventRead)

    def _delivery(self, method: str, path: str) -> DeliveryRead:
        return DeliveryRead.model_validate_json(self._client.request(method, path).content)
