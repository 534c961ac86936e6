"""Uploads in parts, straight to the storage; files whose hash was announced and not yet proven."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0016_uploads"
down_revision: str | None = "0015_programs_and_providers"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

ID = sa.String(length=40, collation="C")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("files", sa.Column("proven", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.alter_column("files", "proven", server_default=None)
    op.drop_constraint("uq_files_tenant_id_sha256", "files")
    proven = sa.text("proven")
    op.create_index("ix_files_tenant_id_sha256", "files", ["tenant_id", "sha256"], unique=True, postgresql_where=proven)
    op.create_table(
        "uploads",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("part_size", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("multipart", sa.String(length=2000), nullable=True),
        sa.Column("file_id", ID, nullable=True),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name=op.f("fk_uploads_file_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_uploads_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        sa.UniqueConstraint("tenant_id", "sha256", "size", name=op.f("uq_uploads_tenant_id_sha256_size")),
    )
    op.create_index(op.f("ix_uploads_expires_at"), "uploads", ["expires_at"])
    op.create_index(op.f("ix_uploads_file_id"), "uploads", ["file_id"])
    op.execute("call isolate_tenants('uploads')")
