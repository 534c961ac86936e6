"""The API."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from app.api import ROUTERS
from app.core import errors
from app.core.bell import Bell
from app.core.body_limit import BodyLimitProblems
from app.core.compression import JsonGZip
from app.core.database import create_engine, sessions
from app.core.limiter import Limiter, Policy
from app.core.sealing import Sealer
from app.core.tally import Tally
from app.core.telemetry import Telemetry, configure_logs
from app.openapi import document
from app.outcomes import build_fleet
from app.settings import Settings
from app.usage import tasks as usage_tasks

DESCRIPTION = """
Upload a trained model, say what it must reach, get back smaller, faster models, each proven on its real target.

Errors are RFC 9457 problems with a stable `code`. Lists are paged by `cursor`. Times are UTC.
"""


class Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        return document(self)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application, with settings from the environment unless given."""
    settings = settings or Settings()
    configure_logs(settings.log_level)
    app = Api(
        title="Whetstone",
        version="1",
        description=DESCRIPTION,
        lifespan=_lifespan,
    )
    app.state.settings = settings
    app.state.fleet = build_fleet(settings)
    app.state.signer = app.state.fleet.signer
    app.state.storage = app.state.fleet.storage
    app.state.sealer = Sealer(settings.secret_key.get_secret_value())
    _add_middleware(app, settings)
    for router in ROUTERS:
        app.include_router(router, max_body_size=settings.limits.body_bytes)
    errors.install(app)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """The last one added is the outermost."""
    app.add_middleware(BodyLimitProblems)
    app.add_middleware(JsonGZip)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=("*",),
            expose_headers=("*",),
            max_age=3600,
        )
    app.add_middleware(Telemetry)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    engine = create_engine(settings.database_url, settings.pool_size)
    app.state.sessions = sessions(engine)
    rates = settings.rates
    app.state.limiter = Limiter(settings.broker_url, {policy: getattr(rates, policy) for policy in Policy})
    app.state.bell = Bell(settings.database_url)
    app.state.tally = Tally()
    writing = asyncio.create_task(usage_tasks.write_requests(app.state.sessions, app.state.tally))
    listening = asyncio.create_task(app.state.bell.run())
    yield
    for task in (writing, listening):
        task.cancel()
    await asyncio.gather(writing, listening, return_exceptions=True)
    await engine.dispose()
