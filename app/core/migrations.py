"""Bring the database to the schema of this code. Forward only."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from app.core.database import async_url

FOLDER = Path(__file__).parents[2] / "migrations"
_LOCK = 7_403_212


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    return config


def upgrade(database_url: str) -> None:
    """Apply what is missing. Several processes may call this at once: one does it, the others wait."""
    config = alembic_config()
    engine = create_engine(async_url(database_url))
    with engine.connect() as guard, engine.connect() as connection:
        guard.execute(text("select pg_advisory_lock(:lock)"), {"lock": _LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    engine.dispose()
