"""Send a request again where that is safe and may help: with growing pauses, as long as the service asks for."""

import random
import time
from collections.abc import Callable

import httpx

PAUSES = (0.2, 0.6, 1.8)  # seconds, each up to half longer by chance
LONGEST_PAUSE = 60.0
_PASSING = (429, 502, 503, 504)
_IN_PROGRESS = 409  # with Retry-After: the same request is being carried out


def repeated(send: Callable[[], httpx.Response], method: str) -> httpx.Response:
    """The first answer that is not about a passing trouble, else the last one. Raises httpx.TransportError."""
    for pause in PAUSES:
        try:
            answer = send()
        except httpx.TransportError as error:
            wait = pause_after(error, method, pause)
            if wait is None:
                raise
        else:
            wait = pause_after(answer, method, pause)
            if wait is None:
                return answer
        time.sleep(wait)
    return send()


def pause_after(outcome: httpx.Response | httpx.TransportError, method: str, pause: float) -> float | None:
    """Seconds until the next try; None where this was the last."""
    wait = pause * (1 + random.random() / 2)  # noqa: S311 - spreads callers, protects nothing
    if isinstance(outcome, httpx.TransportError):
        return wait if _may_repeat(method, outcome) else None
    return max(wait, _asked_for(outcome)) if _is_passing(outcome) else None


def _may_repeat(method: str, error: httpx.TransportError) -> bool:
    """A POST carries an Idempotency-Key; other changes only if the request has certainly not arrived."""
    return method in ("GET", "POST") or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)


def _is_passing(answer: httpx.Response) -> bool:
    return answer.status_code in _PASSING or (answer.status_code == _IN_PROGRESS and "Retry-After" in answer.headers)


def _asked_for(answer: httpx.Response) -> float:
    seconds = answer.headers.get("Retry-After", "")
    return min(float(seconds), LONGEST_PAUSE) if seconds.isdecimal() else 0.0
