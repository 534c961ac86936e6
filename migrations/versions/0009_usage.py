"""What tenants use: metered steps, days, budgets; and each tenant's plan."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0009_usage"
down_revision: str | None = "0008_audit"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

ID = sa.String(length=40, collation="C")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("tenants", sa.Column("plan", sa.String(length=40), nullable=True))
    op.create_table(
        "step_usage",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("subject_id", ID, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("hardware", sa.String(length=60), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("finished_at", TIME, nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("amount", sa.Double(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_step_usage_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_step_usage")),
    )
    op.create_index(op.f("ix_step_usage_tenant_id_finished_at"), "step_usage", ["tenant_id", "finished_at"])
    op.create_index(op.f("ix_step_usage_tenant_id_subject_id"), "step_usage", ["tenant_id", "subject_id"])
    op.create_table(
        "usage_days",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("storage_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_usage_days_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "day", name=op.f("pk_usage_days")),
    )
    op.create_table(
        "budgets",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("measure", sa.String(length=20), nullable=False),
        sa.Column("monthly", sa.Double(), nullable=False),
        sa.Column("alert_at", postgresql.JSONB(), nullable=False),
        sa.Column("told_month", sa.Date(), nullable=True),
        sa.Column("told", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_budgets_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_budgets")),
    )
    open_ = sa.text("state in ('queued', 'running')")
    op.create_index("ix_steps_open", "steps", ["tenant_id", "id"], postgresql_where=open_)
    for name in ("step_usage", "usage_days", "budgets"):
        op.execute(f"call isolate_tenants('{name}')")
