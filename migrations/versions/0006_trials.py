"""The trials of a job that tunes."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006_trials"
down_revision: str | None = "0005_members_and_keys"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

ID = sa.String(length=40, collation="C")


def upgrade() -> None:
    op.create_table(
        "trials",
        sa.Column("job_id", ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("step_id", ID, nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("parameters", postgresql.JSONB(), nullable=True),
        sa.Column("values", postgresql.JSONB(), nullable=True),
        sa.Column("reported", postgresql.JSONB(), nullable=True),
        sa.Column("over", sa.Float(), nullable=True),
        sa.Column("failure", postgresql.JSONB(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_trials_job_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_trials_tenant_id")),
        sa.ForeignKeyConstraint(["step_id"], ["steps.id"], name=op.f("fk_trials_step_id")),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_trials")),
    )
    op.execute("call isolate_tenants('trials')")
