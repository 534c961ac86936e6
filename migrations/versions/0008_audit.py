"""The audit log: lines are added, and neither changed nor deleted by any role that the service runs as."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0008_audit"
down_revision: str | None = "0007_provenance"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

ID = sa.String(length=40, collation="C")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("key_id", ID, nullable=True),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("subject", ID, nullable=True),
        sa.Column("details", postgresql.JSONB(), nullable=True),
        sa.Column("address", sa.String(length=50), nullable=False),
        sa.Column("agent", sa.String(length=200), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_audit_entries_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
    )
    op.create_index(op.f("ix_audit_entries_tenant_id_id"), "audit_entries", ["tenant_id", "id"])
    op.execute("call isolate_tenants('audit_entries')")
    op.execute("revoke update, delete, truncate on audit_entries from whetstone_app, whetstone_any_tenant")
