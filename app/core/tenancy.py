"""Who asks, and for which tenant. A `TenantID` is made by authentication alone; every query starts from one."""

from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NewType, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import AppError
from app.core.pagination import Cursor, page_of
from whetstone.contract.identity import Role, Scope
from whetstone.contract.pages import Page

TenantID = NewType("TenantID", str)


@dataclass(frozen=True)
class Principal:
    """The authenticated caller. `key_id` is that of an API key, or of a browser's session.

    `restricted` is a key that was given an end or fewer scopes than its user has: it must not make itself another.
    `plan` is the one that the tenant was given, if any.
    """

    tenant_id: TenantID
    user_id: str
    key_id: str
    role: Role
    scopes: frozenset[Scope]
    restricted: bool
    plan: str | None


RowT = TypeVar("RowT", bound=Any)


class TenantRepository(Generic[RowT]):
    """Reads one table, for one tenant. Another tenant's row is as missing as one that never was."""

    row: ClassVar[Any]
    missing: ClassVar[type[AppError]]

    def __init__(self, session: AsyncSession, tenant_id: TenantID) -> None:
        self.session = session
        self.tenant_id = tenant_id

    def query(self) -> Select[tuple[RowT]]:
        return select(self.row).where(self.row.tenant_id == self.tenant_id)

    async def get(self, row_id: str, *, for_update: bool = False) -> RowT:
        query = self.query().where(self.row.id == row_id)
        found: RowT | None = await self.session.scalar(query.with_for_update(of=self.row) if for_update else query)
        if found is None:
            raise self.missing
        return found

    async def page(self, cursor: Cursor, query: Select[tuple[RowT]] | None = None) -> Page[RowT]:
        """One page of everything, or of what `query` selects, which must come from `self.query`."""
        return await page_of(self.session, self.query() if query is None else query, self.row.id, cursor)
