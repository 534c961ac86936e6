"""What a Redis or Valkey broker holds of a tenant: counters of its requests, and messages for its steps."""

import base64
import json
from typing import Any

from redis.asyncio import Redis

from app.core.signing import InvalidToken, Signer, Use

_KOMBU_SOCKET = "redis+socket://"
Trace = tuple[bytes, bytes | str | None]


class BrokerTraces:
    """Finds and removes them. A broker that is no Redis keeps only messages, which end with their step."""

    def __init__(self, url: str, signer: Signer) -> None:
        self._url = _redis_url(url)
        self._signer = signer

    async def find(self, tenant_id: str) -> list[Trace]:
        """Keys, and messages with the key of their queue."""
        if self._url is None:
            return []
        async with _open(self._url) as redis:
            return await self._find(redis, tenant_id)

    async def remove(self, tenant_id: str) -> None:
        if self._url is None:
            return
        async with _open(self._url) as redis:
            for key, message in await self._find(redis, tenant_id):
                if message is None:
                    await redis.delete(key)
                else:
                    await redis.lrem(key, 0, message)  # type: ignore[arg-type] # bytes, as they came

    async def _find(self, redis: Redis, tenant_id: str) -> list[Trace]:
        found: list[Trace] = [(key, None) async for key in redis.scan_iter(f"*{tenant_id}*", count=1000)]
        async for queue in redis.scan_iter(count=1000, _type="list"):
            messages = await redis.lrange(queue, 0, -1)
            found += [(queue, message) for message in messages if self._is_for(message, tenant_id)]
        return found

    def _is_for(self, message: bytes | str, tenant_id: str) -> bool:
        """By the step token that the message carries; what is none of ours is nobody's."""
        try:
            args = json.loads(base64.b64decode(json.loads(message)["body"]))[0]
            claims: dict[str, Any] = self._signer.read(Use.STEP, args[1])
        except (ValueError, LookupError, TypeError, InvalidToken):
            return False
        return bool(claims["tenant_id"] == tenant_id)


def _redis_url(url: str) -> str | None:
    if url.startswith(_KOMBU_SOCKET):
        url = "unix://" + url.removeprefix(_KOMBU_SOCKET).replace("virtual_host=", "db=")
    url = url.replace("valkey", "redis", 1) if url.startswith("valkey") else url
    return url if url.startswith(("redis://", "rediss://", "unix://")) else None


def _open(url: str) -> Redis:
    return Redis.from_url(url, socket_timeout=30, socket_connect_timeout=5)
