"""Labels, and what lists are filtered and sorted by."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0019_listing"
down_revision: str | None = "0018_checks"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

ID = sa.String(length=40, collation="C")
KINDS = {
    "jobs": "spec #>> '{plan,kind}'",
    "models": "facts ->> 'format'",
    "datasets": "facts ->> 'format'",
}
WORDS = """
    insert into terms (tenant_id, term, subject_id)
    select tenant_id, split_part(id, '_', 1) || ':word:' || left(word, 200), id
    from {table}, regexp_split_to_table(lower(name), '[^[:alnum:]]+') word where word <> ''
    on conflict do nothing
"""
KIND = """
    insert into terms (tenant_id, term, subject_id)
    select tenant_id, split_part(id, '_', 1) || ':kind:' || ({kind}), id from {table} where ({kind}) is not null
"""


FORGET = """
create function forget_terms() returns trigger language plpgsql as $$
begin
    delete from terms using gone where terms.tenant_id = gone.tenant_id and terms.subject_id = gone.id;
    return null;
end $$
"""
TRIGGER = """
    create trigger forget_terms after delete on {table} referencing old table as gone
    for each statement execute function forget_terms()
"""


def upgrade() -> None:
    op.create_table(
        "terms",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("term", sa.String(length=400, collation="C"), nullable=False),
        sa.Column("subject_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_terms_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "term", "subject_id", name=op.f("pk_terms")),
    )
    op.create_index(op.f("ix_terms_subject_id"), "terms", ["subject_id"])
    for table in KINDS:
        empty = sa.text("'{}'::jsonb")
        op.add_column(table, sa.Column("labels", postgresql.JSONB(), server_default=empty, nullable=False))
        op.alter_column(table, "name", type_=sa.String(length=200, collation="C"))
        for column in ("name", "state", "created_at"):
            op.create_index(f"ix_{table}_tenant_id_{column}_id", table, ["tenant_id", column, "id"])
    for table in ("models", "datasets"):
        op.create_index(f"ix_{table}_tenant_id_id", table, ["tenant_id", "id"])
        op.drop_index(f"ix_{table}_tenant_id", table_name=table)
    _fill()
    op.execute(FORGET)
    for table in KINDS:
        op.execute(TRIGGER.format(table=table))
    op.execute("call isolate_tenants('terms')")


def _fill() -> None:
    """Row-level security is forced on the owner too, so another role reads the rows."""
    op.execute("grant select, insert on terms to whetstone_any_tenant")
    op.execute("set local role whetstone_any_tenant")
    for table, kind in KINDS.items():
        op.execute(WORDS.format(table=table))
        op.execute(KIND.format(table=table, kind=kind))
    op.execute("reset role")
