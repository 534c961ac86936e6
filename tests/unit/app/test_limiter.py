"""Requests are counted ahead, and still none too many passes."""

import asyncio

import pytest

from app.core import limiter
from app.core.limiter import Limiter, Policy, TooManyRequests, Window


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Stands, or a minute could end in between."""
    now = [1_800_000_000.0]
    monkeypatch.setattr(limiter.time, "time", lambda: now[0])
    return now


async def passed(limited: Limiter, requests: int, who: str = "tenant") -> list[Window]:
    async def one() -> Window | None:
        try:
            return await limited.hit(Policy.REQUESTS, who)
        except TooManyRequests:
            return None

    answers = await asyncio.gather(*(one() for _ in range(requests)))
    return [answer for answer in answers if answer is not None]


@pytest.mark.parametrize("quota", [1, 7, 199, 200, 1200])
async def test_so_many_pass_and_no_more(quota: int) -> None:
    limited = Limiter("memory://", {Policy.REQUESTS: quota})
    windows = await passed(limited, 2 * quota + 5)
    assert sorted(window.remaining for window in windows) == list(range(quota))
    assert await passed(limited, 3) == []
    assert len(await passed(limited, 1, "another")) == 1


async def test_processes_share_the_quota() -> None:
    first, second = (Limiter("memory://", {Policy.REQUESTS: 400}) for _ in range(2))
    second._storage = first._storage
    windows = [window for _ in range(500) for each in (first, second) for window in await passed(each, 1)]
    assert len(windows) == 400


async def test_the_next_minute_begins_anew(clock: list[float]) -> None:
    limited = Limiter("memory://", {Policy.REQUESTS: 300})
    assert len(await passed(limited, 301)) == 300
    clock[0] += 60
    assert len(await passed(limited, 10)) == 10
