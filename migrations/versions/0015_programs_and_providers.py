"""Service accounts beside people, and people who sign in by an identity provider."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015_programs_and_providers"
down_revision: str | None = "0014_second_factor"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

ID = sa.String(length=40, collation="C")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("users", sa.Column("kind", sa.String(length=10), server_default="person", nullable=False))
    op.alter_column("users", "kind", server_default=None)
    op.add_column("users", sa.Column("name", sa.String(length=200), nullable=True))
    op.add_column("users", sa.Column("disabled_at", TIME, nullable=True))
    op.alter_column("users", "email", nullable=True)
    op.alter_column("users", "password_hash", nullable=True)
    op.create_check_constraint(
        "ck_users_kind",
        "users",
        "(kind = 'person' and email is not null and name is null)"
        " or (kind = 'service' and name is not null and email is null and password_hash is null)",
    )
    op.create_table(
        "external_identities",
        sa.Column("issuer", sa.String(length=500), nullable=False),
        sa.Column("subject", sa.String(length=255, collation="C"), nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_external_identities_tenant_id")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_external_identities_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("pk_external_identities")),
    )
    op.create_index(op.f("ix_external_identities_user_id"), "external_identities", ["user_id"])
    op.execute("call isolate_tenants('external_identities')")
