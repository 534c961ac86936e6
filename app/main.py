"""The API."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from app.api import router
from app.core import errors
from app.core.bell import Bell
from app.core.database import create_engine, sessions
from app.core.telemetry import RequestIds, configure_logs
from app.outcomes import build_fleet
from app.settings import Settings

DESCRIPTION = """
Upload a trained model, say what it must reach, get back smaller, faster models, each proven on its real target.

Errors are RFC 9457 problems with a stable `code`. Lists are paged by `cursor`. Times are UTC.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application, with settings from the environment unless given."""
    settings = settings or Settings()
    configure_logs(settings.log_level)
    app = FastAPI(
        title="Whetstone",
        version="1",
        description=DESCRIPTION,
        lifespan=_lifespan,
        max_body_size=settings.limits.body_bytes,
    )
    app.state.settings = settings
    app.state.fleet = build_fleet(settings)
    app.state.signer = app.state.fleet.signer
    app.state.storage = app.state.fleet.storage
    app.add_middleware(RequestIds)
    app.include_router(router)
    errors.install(app)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    engine = create_engine(settings.database_url, settings.pool_size)
    app.state.sessions = sessions(engine)
    app.state.bell = Bell(settings.database_url)
    listening = asyncio.create_task(app.state.bell.run())
    yield
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await engine.dispose()
