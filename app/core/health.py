"""Is the process alive, and can it serve?"""

from fastapi import APIRouter
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.core.errors import AppError, problems
from app.core.resources import SessionsDep, StorageDep
from app.core.storage import StorageUnavailable
from whetstone.contract.types import Contract

router = APIRouter(tags=["health"])


class DatabaseUnavailable(AppError):
    """The database cannot be reached."""

    code, status = "database_unavailable", 503


class Health(Contract):
    status: str


@router.get("/healthz")
async def healthz() -> Health:
    """The process is alive."""
    return Health(status="ok")


@router.get("/readyz", responses=problems(DatabaseUnavailable, StorageUnavailable))
async def readyz(sessions: SessionsDep, storage: StorageDep) -> Health:
    """The process can serve: the database and the file storage answer."""
    try:
        async with sessions() as session:
            await session.execute(text("select 1"))
    except (SQLAlchemyError, OSError) as error:
        raise DatabaseUnavailable from error
    await storage.check()
    return Health(status="ok")
