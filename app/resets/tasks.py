"""What the control worker does for forgotten passwords: answer requests, whoever's they are."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.core.bell import Bell
from app.core.sealing import Sealer
from app.resets import service
from app.resets.tables import ResetRequestRow

BATCH = 50
IDLE_SECONDS = 30.0


async def answer_forever(
    sessions: async_sessionmaker[AsyncSession], sealer: Sealer, public_url: str, bell: Bell
) -> None:
    """Answer requests as soon as they are committed, until cancelled."""
    async with bell.listening(service.TOPIC) as ear:
        while True:
            if await answer_once(sessions, sealer, public_url) < BATCH:
                await ear.wait(IDLE_SECONDS)


async def answer_once(sessions: async_sessionmaker[AsyncSession], sealer: Sealer, public_url: str) -> int:
    """Returns how many requests there were."""
    async with sessions.begin() as session:
        query = select(ResetRequestRow).order_by(ResetRequestRow.id).limit(BATCH).with_for_update(skip_locked=True)
        rows = list(await session.scalars(query))
        for row in rows:
            await service.answer_any_tenant(session, sealer, public_url, row.email)
            await session.delete(row)
    return len(rows)
