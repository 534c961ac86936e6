"""How often a caller may ask: fixed windows of a minute, counted in the broker's Redis or Valkey for all processes."""

import time
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import Storage
from limits.errors import StorageError
from limits.storage import storage_from_string

from app.core.errors import AppError

WINDOW = 60
LEASES = 100
MOST_LEASES = 10_000
_KOMBU_SOCKET = "redis+socket://"
_TIMEOUTS = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
_QUIET_SECONDS = 30.0
log = structlog.get_logger()


class Policy(StrEnum):
    """What is counted; each has a limit of its own in the settings."""

    REQUESTS = "requests"
    LOGINS = "logins"
    LINKS = "links"


class TooManyRequests(AppError):
    """Too many requests in this minute."""

    code, status = "too_many_requests", 429
    hint = "Wait as many seconds as Retry-After says."


@dataclass(frozen=True)
class Window:
    """What is left of the current minute; `resets_in` is in seconds."""

    policy: Policy
    quota: int
    remaining: int
    resets_in: int

    def headers(self) -> dict[str, str]:
        """The fields of draft-ietf-httpapi-ratelimit-headers-10."""
        return {
            "RateLimit-Policy": f'"{self.policy}";q={self.quota};w={WINDOW}',
            "RateLimit": f'"{self.policy}";r={self.remaining};t={self.resets_in}',
        }


@dataclass
class _Lease:
    """The numbers of requests of a minute that this process has counted ahead and not yet given to any."""

    minute: int
    free: deque[int]


class Limiter:
    """Counts requests. Where the broker cannot be reached nobody is refused, and the log says so.

    A process takes a hundredth of the quota at a time: so much may go to waste in each process when a minute ends.
    """

    def __init__(self, url: str, quotas: dict[Policy, int]) -> None:
        self._storage = _storage(url)
        self._quotas = quotas
        self._silent_until = 0.0
        self._leases: dict[tuple[Policy, str], _Lease] = {}

    async def hit(self, policy: Policy, who: str, quota: int | None = None) -> Window | None:
        """Count one request, against `quota` where one is given. Returns None when it could not be counted. Raises
        TooManyRequests.
        """
        quota, now = quota or self._quotas[policy], time.time()
        resets_in = WINDOW - int(now) % WINDOW
        try:
            count = await self._count(policy, who, quota, int(now) // WINDOW)
        except StorageError as error:
            self._warn(error)
            return None
        window = Window(policy, quota, max(0, quota - count), resets_in)
        if count > quota:
            raise TooManyRequests(headers=window.headers() | {"Retry-After": str(resets_in)})
        return window

    async def _count(self, policy: Policy, who: str, quota: int, minute: int) -> int:
        """This request's number in its minute. Windows begin with the clock's minute, so nobody is asked when."""
        lease = self._lease(policy, who, minute)
        if not lease.free:
            size = max(1, quota // LEASES)
            item = RateLimitItemPerMinute(quota, namespace="whetstone")
            upto = await self._storage.incr(item.key_for(policy, who, str(minute)), WINDOW, size)
            lease.free.extend(range(upto - size + 1, upto + 1))
        return lease.free.popleft()

    def _lease(self, policy: Policy, who: str, minute: int) -> _Lease:
        if len(self._leases) > MOST_LEASES:
            self._leases = {key: lease for key, lease in self._leases.items() if lease.minute == minute}
        lease = self._leases.get((policy, who))
        if lease is None or lease.minute != minute:
            lease = self._leases[policy, who] = _Lease(minute, deque())
        return lease

    def _warn(self, error: Exception) -> None:
        if time.monotonic() >= self._silent_until:
            self._silent_until = time.monotonic() + _QUIET_SECONDS
            log.warning("requests are not limited: the broker cannot be reached", error=str(error))


def _storage(url: str) -> Storage:
    """Counters where the broker is; a broker that is no Redis leaves each process to count for itself."""
    if url.startswith(_KOMBU_SOCKET):
        path = url.removeprefix(_KOMBU_SOCKET).replace("virtual_host=", "db=")
        url = f"redis+unix://{path}"
    if not url.startswith(("redis", "valkey")):
        return _async(storage_from_string("async+memory://", wrap_exceptions=True))
    return _async(storage_from_string(f"async+{url}", implementation="redispy", wrap_exceptions=True, **_TIMEOUTS))


def _async(storage: object) -> Storage:
    assert isinstance(storage, Storage)  # noqa: S101 - the scheme says so
    return storage
