"""How long things are kept: rules, when uploads were last used, a role that may shorten the audit log; and tenants that
are to be deleted, with the receipts of those that were; objects that are deleted twice.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0017_retention"
down_revision: str | None = "0020_templates_and_shares"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

ID = sa.String(length=40, collation="C")
TIME = sa.DateTime(timezone=True)

# As in 0004: roles belong to the whole server, and whetstone_app may take this one but does not inherit it.
ROLE = """
do $$
begin
    if not exists (select from pg_roles where rolname = 'whetstone_retention') then
        create role whetstone_retention nologin nosuperuser nobypassrls;
    end if;
    if not pg_has_role('whetstone_app', 'whetstone_retention', 'member') then
        grant whetstone_retention to whetstone_app;
    end if;
    if not pg_has_role(current_user, 'whetstone_retention', 'member') then
        execute format('grant whetstone_retention to %I', current_user);
    end if;
end $$
"""
GRANTS = """
grant usage on schema public to whetstone_retention;
grant select, delete on audit_entries to whetstone_retention;
create policy one_tenants_past on audit_entries to whetstone_retention
    using (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
"""


def upgrade() -> None:
    op.create_table(
        "retention_rules",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("rules", postgresql.JSONB(), nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("applied_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_retention_rules_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_retention_rules")),
    )
    op.create_table(
        "tenant_closings",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("receipt_id", ID, nullable=False),
        sa.Column("requested_by", ID, nullable=False),
        sa.Column("requested_at", TIME, nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("purged_at", TIME, nullable=True),
        sa.Column("rows", postgresql.JSONB(), nullable=False),
        sa.Column("objects", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_tenant_closings_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenant_closings")),
    )
    op.create_index(op.f("ix_tenant_closings_due_at"), "tenant_closings", ["due_at"])
    op.create_table(
        "deletion_receipts",
        sa.Column("id", ID, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("keyid", sa.String(length=64), nullable=False),
        sa.Column("sig", sa.String(length=200), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deletion_receipts")),
    )
    op.add_column("doomed_objects", sa.Column("gone_at", TIME, nullable=True))
    for name in ("models", "datasets"):
        op.add_column(name, sa.Column("last_used_at", TIME, nullable=True))
    op.alter_column("audit_entries", "user_id", nullable=True)
    op.execute(ROLE)
    op.execute(GRANTS)
    for name in ("retention_rules", "tenant_closings"):
        op.execute(f"call isolate_tenants('{name}')")
