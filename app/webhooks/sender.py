"""One attempt to deliver: sign, send, read the head of the answer. Follows no redirect, knows no proxy."""

import asyncio
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import httpcore
from standardwebhooks import Webhook

from app.webhooks.network import ForbiddenAddress, Guard, GuardedNetwork, Resolve, resolve

HEAD = 1000  # bytes of the answer that are kept
MOST_CONNECTIONS = 50
_SUCCESS = range(200, 300)


@dataclass(frozen=True)
class Parcel:
    """Everything that one attempt needs. `secrets` are the ones that sign, newest first."""

    delivery_id: str
    webhook_id: str
    tenant_id: str
    number: int
    url: str
    secrets: tuple[str, ...]
    event_id: str
    body: bytes


@dataclass(frozen=True)
class Outcome:
    """What came of it: a status, or an error. `retry_after` is in seconds, if the receiver asked for it."""

    at: datetime
    milliseconds: float
    status: int | None = None
    error: str | None = None
    answer: str = ""
    retry_after: float = 0.0

    @property
    def delivered(self) -> bool:
        return self.status in _SUCCESS


class Sender:
    """Sends by the Standard Webhooks specification 1.0.0."""

    def __init__(self, guard: Guard, timeout: float, resolve: Resolve = resolve) -> None:
        self._timeout = timeout
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=MOST_CONNECTIONS,
            max_keepalive_connections=0,  # each attempt connects, and so is checked, anew
            network_backend=GuardedNetwork(guard, resolve),
        )

    async def close(self) -> None:
        await self._pool.aclose()

    async def send(self, parcel: Parcel) -> Outcome:
        """Never raises for what the receiver or the network does."""
        at, began = datetime.now(UTC), time.monotonic()

        def outcome(**found: object) -> Outcome:
            return Outcome(at, (time.monotonic() - began) * 1000, **found)  # type: ignore[arg-type] # named below

        try:
            async with asyncio.timeout(self._timeout):
                status, answer, retry_after = await self._exchange(parcel, at)
        except TimeoutError:
            return outcome(error=f"no answer within {self._timeout:g} seconds")
        except ForbiddenAddress as error:
            return outcome(error=str(error))
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            return outcome(error=f"{type(error).__name__}: {error}"[:300])
        return outcome(status=status, answer=answer, retry_after=retry_after)

    async def _exchange(self, parcel: Parcel, at: datetime) -> tuple[int, str, float]:
        headers = [(name.encode(), value.encode()) for name, value in signed_headers(parcel, at).items()]
        async with self._pool.stream("POST", parcel.url, headers=headers, content=parcel.body) as answer:
            head = b""
            async for chunk in answer.aiter_stream():
                head += chunk
                if len(head) >= HEAD:
                    break
            given = dict(answer.headers)
        text = head[:HEAD].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        return answer.status, text, _seconds(given.get(b"retry-after", given.get(b"Retry-After", b"")))


def signed_headers(parcel: Parcel, at: datetime) -> dict[str, str]:
    """The three headers of the specification: one signature for each secret that is in force."""
    body = parcel.body.decode()
    signatures = [Webhook(secret).sign(parcel.event_id, at, body) for secret in parcel.secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": "Whetstone-Webhooks/1",
        "webhook-id": parcel.event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _seconds(retry_after: bytes) -> float:
    return float(retry_after) if retry_after.isdigit() else 0.0
