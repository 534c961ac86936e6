"""The long-lived things a request may need, put into `app.state` once by create_app."""

from typing import Annotated, cast

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.core.bell import Bell
from app.core.limiter import Limiter
from app.core.sealing import Sealer
from app.core.signing import Signer
from app.core.storage import Storage
from app.settings import Settings


def _settings(request: Request) -> Settings:
    return cast("Settings", request.app.state.settings)


def _sessions(request: Request) -> async_sessionmaker[AsyncSession]:
    return cast("async_sessionmaker[AsyncSession]", request.app.state.sessions)


def _bell(request: Request) -> Bell:
    return cast("Bell", request.app.state.bell)


def _signer(request: Request) -> Signer:
    return cast("Signer", request.app.state.signer)


def _storage(request: Request) -> Storage:
    return cast("Storage", request.app.state.storage)


def _limiter(request: Request) -> Limiter:
    return cast("Limiter", request.app.state.limiter)


def _sealer(request: Request) -> Sealer:
    return cast("Sealer", request.app.state.sealer)


SettingsDep = Annotated[Settings, Depends(_settings)]
SessionsDep = Annotated[async_sessionmaker[AsyncSession], Depends(_sessions)]
BellDep = Annotated[Bell, Depends(_bell)]
SignerDep = Annotated[Signer, Depends(_signer)]
StorageDep = Annotated[Storage, Depends(_storage)]
LimiterDep = Annotated[Limiter, Depends(_limiter)]
SealerDep = Annotated[Sealer, Depends(_sealer)]
