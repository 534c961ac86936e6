"""How the samples of a dataset are made from a file of images or a table."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0010_preprocessing"
down_revision: str | None = "0009_usage"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("datasets", sa.Column("preprocessing", postgresql.JSONB(), nullable=True))
