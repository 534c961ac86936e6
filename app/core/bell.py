"""Wakes those who wait for a change, in whatever process, by Postgres LISTEN/NOTIFY.

A ring carries a topic (an id) and no content: whoever is woken looks into the database. A lost ring costs at most
the waiter's own time-out.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator

import psycopg
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.database import plain_url

CHANNEL = "whetstone"
RECONNECT_SECONDS = 1.0
log = structlog.get_logger()


async def ring(session: AsyncSession, topic: str) -> None:
    """Wake the waiters of a topic when this transaction commits."""
    await session.execute(text("select pg_notify(:channel, :topic)"), {"channel": CHANNEL, "topic": topic})


class Bell:
    """One listening connection a process; any number of waiters."""

    def __init__(self, database_url: str) -> None:
        self._url = plain_url(database_url)
        self._ears: dict[str, set[asyncio.Event]] = defaultdict(set)

    async def run(self) -> None:
        """Listen until cancelled, connecting again when the database went away."""
        while True:
            try:
                await self._listen()
            except psycopg.OperationalError as error:
                log.warning("bell lost its connection", error=str(error))
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            await connection.execute(f"listen {CHANNEL}")
            self._wake_all()
            async for note in connection.notifies():
                for ear in self._ears.get(note.payload, ()):
                    ear.set()

    def _wake_all(self) -> None:
        for ears in self._ears.values():
            for ear in ears:
                ear.set()

    @contextlib.asynccontextmanager
    async def listening(self, topic: str) -> AsyncIterator["Ear"]:
        """Hear rings from here on, so that a change between looking and waiting is not missed."""
        event = asyncio.Event()
        self._ears[topic].add(event)
        try:
            yield Ear(event)
        finally:
            self._ears[topic].discard(event)
            if not self._ears[topic]:
                del self._ears[topic]


class Ear:
    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def wait(self, seconds: float) -> None:
        """Return at the next ring, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)
        self._event.clear()
