"""What is written down by the way: requests by every API process, the space of files by the control worker."""

import asyncio
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.core.scope import any_tenant
from app.core.tally import Tally
from app.usage import repository

WRITE_SECONDS = 5.0
log = structlog.get_logger()


async def write_requests(sessions: async_sessionmaker[AsyncSession], tally: Tally) -> None:
    """Until cancelled, and once more then. A process that is killed loses the counts of its last seconds, no more."""
    try:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await _write_once(sessions, tally)
    finally:
        await _write_once(sessions, tally)


async def _write_once(sessions: async_sessionmaker[AsyncSession], tally: Tally) -> None:
    counts = tally.take()
    if not counts:
        return
    try:
        with any_tenant():
            async with sessions.begin() as session:
                await repository.add_requests_any_tenant(session, counts)
    except SQLAlchemyError as error:  # the database may be away; the next round finds out
        tally.put_back(counts)
        log.warning("requests could not be written down", error=str(error))


async def sweep(session: AsyncSession) -> None:
    await repository.note_storage_any_tenant(session, datetime.now(UTC).date())
