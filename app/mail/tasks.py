"""What the control worker does for mail: send what is due, try again what was not taken.

A letter is claimed under a lease before it is sent and settled after, each in its own transaction. A sender that dies
in between is found out when the lease ends: a letter may arrive twice, with the same Message-ID, but is never lost.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.core.bell import Bell
from app.core.sealing import Sealer
from app.mail import sender, service
from app.mail.tables import EmailRow
from app.settings import MailSettings

BATCH = 8
LEASE = timedelta(minutes=5)
IDLE_SECONDS = 30.0
log = structlog.get_logger()


@dataclass(frozen=True)
class Sending:
    """A letter under way."""

    email_id: str
    recipient: str
    message: EmailMessage


async def send_forever(
    sessions: async_sessionmaker[AsyncSession], sealer: Sealer, settings: MailSettings, bell: Bell
) -> None:
    """Send letters as soon as they are committed, until cancelled."""
    async with bell.listening(service.TOPIC) as ear:
        while True:
            if not await send_once(sessions, sealer, settings):
                await ear.wait(await _pause(sessions))


async def send_once(sessions: async_sessionmaker[AsyncSession], sealer: Sealer, settings: MailSettings) -> int:
    """Send what is due, at most BATCH letters. Returns how many were due."""
    async with sessions.begin() as session:
        now = datetime.now(UTC)
        query = select(EmailRow).where(EmailRow.due_at <= now).order_by(EmailRow.due_at).limit(BATCH)
        rows = list(await session.scalars(query.with_for_update(skip_locked=True)))
        sending = [found for row in rows if (found := await _claim(session, sealer, settings, row, now))]
    await asyncio.gather(*(_send(sessions, settings, each) for each in sending))
    return len(rows)


async def _claim(
    session: AsyncSession, sealer: Sealer, settings: MailSettings, row: EmailRow, now: datetime
) -> Sending | None:
    """None for a letter that is of no use any more, or never was."""
    reason = "nobody took it in time" if row.expires_at <= now else None
    if reason is None:
        try:
            message = sender.compose(settings, row, service.read(sealer, row))
        except sender.Undeliverable as error:
            reason = str(error)
    if reason is not None:
        log.error("a letter was given up", email_id=row.id, tenant_id=row.tenant_id, reason=reason)
        await session.delete(row)
        return None
    row.attempts += 1
    row.due_at = now + LEASE
    return Sending(row.id, row.recipient, message)


async def _send(sessions: async_sessionmaker[AsyncSession], settings: MailSettings, sending: Sending) -> None:
    error: Exception | None = None
    try:
        await asyncio.to_thread(sender.send, settings, sending.message, sending.recipient)
    except (sender.Undeliverable, sender.NotSent) as found:
        error = found
    async with sessions.begin() as session:
        row = await session.get(EmailRow, sending.email_id, with_for_update=True)
        if row is not None:
            await _settle(session, settings, row, error)


async def _settle(session: AsyncSession, settings: MailSettings, row: EmailRow, error: Exception | None) -> None:
    match error:
        case None:
            await session.delete(row)
        case sender.NotSent():
            pauses = settings.retry_seconds
            row.due_at = datetime.now(UTC) + timedelta(seconds=pauses[min(row.attempts, len(pauses)) - 1])
            log.warning("a letter was not taken", email_id=row.id, tenant_id=row.tenant_id, reason=str(error))
        case _:
            log.error("a letter was given up", email_id=row.id, tenant_id=row.tenant_id, reason=str(error))
            await session.delete(row)


async def _pause(sessions: async_sessionmaker[AsyncSession]) -> float:
    """Seconds until the next letter is due."""
    async with sessions() as session:
        due = await session.scalar(select(func.min(EmailRow.due_at)))
    return IDLE_SECONDS if due is None else min(max((due - datetime.now(UTC)).total_seconds(), 0), IDLE_SECONDS)
