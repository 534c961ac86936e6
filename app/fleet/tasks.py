"""What the control worker does for the fleet: send messages, and look after steps that fell silent."""

import asyncio
from datetime import UTC, datetime

import structlog
from kombu.exceptions import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.core import outbox, scope
from app.core.bell import Bell
from app.core.broker import Broker
from app.fleet import repository, service

BATCH = 100
IDLE_SECONDS = 5.0
RETRY_SECONDS = 1.0
log = structlog.get_logger()


async def relay_forever(sessions: async_sessionmaker[AsyncSession], bell: Bell, broker: Broker) -> None:
    """Send what is in the outbox as soon as it is committed; wait and go on when the broker is away."""
    async with bell.listening(outbox.TOPIC) as ear:
        while True:
            try:
                sent = await relay_once(sessions, broker)
            except OperationalError as error:
                log.warning("broker cannot be reached", error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if sent < BATCH:
                await ear.wait(IDLE_SECONDS)


async def relay_once(sessions: async_sessionmaker[AsyncSession], broker: Broker) -> int:
    async with sessions.begin() as session:
        return await outbox.relay(session, broker.send, BATCH)


async def sweep_once(sessions: async_sessionmaker[AsyncSession], fleet: service.Fleet) -> int:
    """Look after every step that is due, each in a transaction of its own. Returns how many."""
    async with sessions() as session:
        due = await repository.due_any_tenant(session, datetime.now(UTC), BATCH)
    for tenant_id, step_id in due:
        with scope.tenant(tenant_id):
            async with sessions.begin() as session:
                await service.sweep_step(session, fleet, step_id)
    return len(due)
