"""Every table that tenants own rows of, as the database itself tells, so that a new one cannot be forgotten."""

from dataclasses import dataclass
from graphlib import TopologicalSorter

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

_OWNED = text("""
    select relname from pg_class join pg_attribute on attrelid = pg_class.oid
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and attname = 'tenant_id' and not attisdropped
    order by relname
""")
_REFERENCES = text("""
    select child.relname, parent.relname from pg_constraint
    join pg_class child on child.oid = conrelid join pg_class parent on parent.oid = confrelid
    where contype = 'f' and child.relnamespace = 'public'::regnamespace
""")


@dataclass(frozen=True)
class Table:
    """A table, and which of its rows are a tenant's, by the parameter `:tenant_id`."""

    name: str
    condition: str = "tenant_id = :tenant_id"

    def rows(self, what: str) -> TextClause:
        """`what` is SQL before `from`. Names are those of our own tables."""
        return text(f'{what} from "{self.name}" as t where {self.condition}')


TENANTS = Table("tenants", "id = :tenant_id")
DOOMED = Table("doomed_objects", "starts_with(key, :tenant_id || '/')")


async def tables(session: AsyncSession) -> list[Table]:
    """All of them, each before those that its rows refer to."""
    names = list(await session.scalars(_OWNED))
    found = {name: Table(name) for name in names} | {table.name: table for table in (TENANTS, DOOMED)}
    order: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(found, ()))
    for child, parent in await session.execute(_REFERENCES):
        if child != parent and child in found and parent in found:
            order.add(parent, child)
    return [found[name] for name in order.static_order()]


async def count(session: AsyncSession, table: Table, tenant_id: str) -> int:
    return int(await session.scalar(table.rows("select count(*)"), {"tenant_id": tenant_id}) or 0)
