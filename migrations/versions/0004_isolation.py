"""Row-level security: a transaction sees the rows of the tenant that it was told, and no others.

A later migration that makes a table with a `tenant_id` ends with `call isolate_tenants('its_name')`. One that changes
rows runs as a superuser, or takes the role whetstone_any_tenant: row-level security is forced on the owner too.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004_isolation"
down_revision: str | None = "0003_webhooks"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

OWNED = (
    "api_keys",
    "artifacts",
    "datasets",
    "deliveries",
    "delivery_attempts",
    "events",
    "files",
    "job_events",
    "jobs",
    "models",
    "outbox",
    "steps",
    "stored_answers",
    "users",
    "webhooks",
)
ID = sa.String(length=40, collation="C")

# The roles belong to the whole server, so another database may have made them. whetstone_app may take the other role
# but does not inherit it, or the policy for all tenants would hold for it at once.
ROLES = """
do $$
begin
    if not exists (select from pg_roles where rolname = 'whetstone_app') then
        create role whetstone_app nologin nosuperuser nobypassrls noinherit;
    end if;
    if not exists (select from pg_roles where rolname = 'whetstone_any_tenant') then
        create role whetstone_any_tenant nologin nosuperuser nobypassrls;
    end if;
    if not pg_has_role('whetstone_app', 'whetstone_any_tenant', 'member') then
        grant whetstone_any_tenant to whetstone_app;
    end if;
    if not pg_has_role(current_user, 'whetstone_app', 'member') then
        execute format('grant whetstone_app, whetstone_any_tenant to %I', current_user);
    end if;
end $$
"""
GRANTS = """
grant usage on schema public to whetstone_app, whetstone_any_tenant;
grant select, insert, update, delete on all tables in schema public to whetstone_app, whetstone_any_tenant;
alter default privileges in schema public
    grant select, insert, update, delete on tables to whetstone_app, whetstone_any_tenant;
"""
# After a transaction the setting reads '' and not NULL: nullif, or rows of a tenant '' would be shown.
ISOLATE = """
create procedure isolate_tenants(name text, condition text default $c$tenant_id = $1$c$)
language plpgsql as $$
declare
    mine text := replace(condition, '$1', $c$nullif(current_setting('app.tenant_id', true), '')$c$);
begin
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('create policy one_tenant on %I to whetstone_app using (%s) with check (%2$s)', name, mine);
    execute format('create policy any_tenant on %I to whetstone_any_tenant using (true) with check (true)', name);
end $$
"""


def upgrade() -> None:
    for name in ("job_events", "outbox"):
        op.add_column(name, sa.Column("tenant_id", ID, nullable=True))
    op.execute("update job_events set tenant_id = jobs.tenant_id from jobs where jobs.id = job_events.job_id")
    op.execute("update outbox set tenant_id = steps.tenant_id from steps where steps.id = outbox.args ->> 0")
    for name in ("job_events", "outbox"):
        op.alter_column(name, "tenant_id", nullable=False)
        op.create_foreign_key(op.f(f"fk_{name}_tenant_id"), name, "tenants", ["tenant_id"], ["id"])
    op.execute(ROLES)
    op.execute(GRANTS)
    op.execute(ISOLATE)
    for name in OWNED:
        op.execute(f"call isolate_tenants('{name}')")
    op.execute("call isolate_tenants('tenants', 'id = $1')")
    op.execute("call isolate_tenants('doomed_objects', 'starts_with(key, $1 || ''/'')')")
