"""Table of contents: the periodic tasks of the control worker. Any number of control workers may run."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from app.artifacts import files, transfers
from app.closing import tasks as closing_tasks
from app.closing.broker import BrokerTraces
from app.closing.deletion import Places
from app.core.bell import Bell
from app.core.broker import Broker
from app.core.database import create_engine, sessions
from app.core.scope import enter_any_tenant
from app.core.sealing import Sealer
from app.core.telemetry import configure_logs
from app.fleet import tasks as fleet_tasks
from app.identity import once, passwords
from app.mail import tasks as mail_tasks
from app.outcomes import build_fleet
from app.resets import service as resets
from app.resets import tasks as reset_tasks
from app.retention import tasks as retention_tasks
from app.settings import Settings
from app.usage import tasks as usage_tasks
from app.webhooks import tasks as webhook_tasks
from app.webhooks.sender import Sender
from app.webhooks.service import guard_of

CLEAN_SECONDS = 30.0
USAGE_SECONDS = 600.0
RETENTION_SECONDS = 1800.0
CLOSING_SECONDS = 60.0
log = structlog.get_logger()


async def run(settings: Settings) -> None:
    """Run every task until cancelled."""
    enter_any_tenant()  # what is done for one step or delivery is narrowed to its tenant
    configure_logs(settings.log_level)
    engine = create_engine(settings.database_url, settings.pool_size)
    open_session, fleet = sessions(engine), build_fleet(settings)
    bell, broker = Bell(settings.database_url), Broker(settings.broker_url)
    links_live = timedelta(seconds=settings.limits.url_seconds)
    places = Places(fleet.storage, BrokerTraces(settings.broker_url, fleet.signer), fleet.signing_key)
    sender = Sender(guard_of(settings.webhooks), settings.webhooks.timeout_seconds)
    sealer = Sealer(settings.secret_key.get_secret_value())

    async def send_webhooks() -> None:
        await webhook_tasks.Postman(open_session, sealer, sender, settings.webhooks).run(bell)

    async def send_mail() -> None:
        await mail_tasks.send_forever(open_session, sealer, settings.mail, bell)

    async def answer_resets() -> None:
        await reset_tasks.answer_forever(open_session, sealer, settings.public_url, bell)

    async def sweep_steps() -> None:
        await fleet_tasks.sweep_once(open_session, fleet)

    async def sweep_files() -> None:
        async with open_session.begin() as session:
            await transfers.sweep(session)
        async with open_session.begin() as session:
            await files.sweep(session, fleet.storage, links_live)

    async def sweep_rows() -> None:
        async with open_session.begin() as session:
            await once.sweep(session)
            await passwords.sweep(session)
            await resets.sweep(session)
            await webhook_tasks.sweep(session)

    async def apply_retention() -> None:
        await retention_tasks.sweep(open_session)

    async def delete_tenants() -> None:
        await closing_tasks.sweep(open_session, places, links_live)

    async def note_usage() -> None:
        async with open_session.begin() as session:
            await usage_tasks.sweep(session)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bell.run())
        tasks.create_task(_again_and_again(0, lambda: fleet_tasks.relay_forever(open_session, bell, broker)))
        tasks.create_task(_again_and_again(0, send_webhooks))
        tasks.create_task(_again_and_again(0, send_mail))
        tasks.create_task(_again_and_again(0, answer_resets))
        tasks.create_task(_again_and_again(settings.lease.sweep_every, sweep_steps))
        tasks.create_task(_again_and_again(CLEAN_SECONDS, sweep_files))
        tasks.create_task(_again_and_again(CLEAN_SECONDS, sweep_rows))
        tasks.create_task(_again_and_again(USAGE_SECONDS, note_usage))
        tasks.create_task(_again_and_again(RETENTION_SECONDS, apply_retention))
        tasks.create_task(_again_and_again(CLOSING_SECONDS, delete_tenants))


async def _again_and_again(every: float, task: Callable[[], Awaitable[None]]) -> None:
    """Run a task for ever; what goes wrong once is logged and must not end the others."""
    while True:
        try:
            await task()
        except Exception:  # the database may be away; the next round finds out
            log.exception("periodic task failed")
            await asyncio.sleep(1)
        await asyncio.sleep(every)
