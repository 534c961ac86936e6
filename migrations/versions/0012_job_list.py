"""An index in the order in which a tenant's jobs are listed."""

from collections.abc import Sequence

from alembic import op

revision: str = "0012_job_list"
down_revision: str | None = "0011_toolkits"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_index("ix_jobs_tenant_id_id", "jobs", ["tenant_id", "id"])
    op.drop_index("ix_jobs_tenant_id", table_name="jobs")
