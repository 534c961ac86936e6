"""Alembic's entry: run by `app.core.migrations`, which hands over an open connection."""

from typing import Any

from alembic import context
from alembic.autogenerate.api import AutogenContext

from app.core.database import Json
from app.tables import metadata


def render_item(kind: str, item: Any, autogen: AutogenContext) -> str | bool:
    """A contract column is plain JSONB to a migration, which must not depend on today's contract."""
    if kind == "type" and isinstance(item, Json):
        autogen.imports.add("from sqlalchemy.dialects import postgresql")
        return "postgresql.JSONB()"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
    compare_type=True,
    render_item=render_item,
)
with context.begin_transaction():
    context.run_migrations()
