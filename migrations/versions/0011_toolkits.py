"""Toolkits of workers, steps that need one, and the ONNX form of models that came in another."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0011_toolkits"
down_revision: str | None = "0010_preprocessing"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

ID = sa.String(length=40, collation="C")


def upgrade() -> None:
    none = sa.text("'[]'::jsonb")
    op.add_column("workers", sa.Column("toolkits", postgresql.JSONB(), server_default=none, nullable=False))
    op.alter_column("workers", "toolkits", server_default=None)
    op.add_column("steps", sa.Column("toolkit", sa.String(length=60), nullable=True))
    op.add_column("models", sa.Column("imported_file_id", ID, nullable=True))
    op.create_foreign_key(op.f("fk_models_imported_file_id"), "models", "files", ["imported_file_id"], ["id"])
    op.create_index(op.f("ix_models_imported_file_id"), "models", ["imported_file_id"])
