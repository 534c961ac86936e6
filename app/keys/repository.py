from sqlalchemy import Select
from sqlalchemy.orm import joinedload

from app.core.errors import AppError
from app.core.pagination import Cursor
from app.core.tenancy import Principal, TenantRepository
from app.identity.tables import ApiKeyRow
from whetstone.contract.identity import Role, Scope


class KeyNotFound(AppError):
    """There is no such API key, or it was revoked."""

    code, status = "key_not_found", 404


class KeyRepository(TenantRepository[ApiKeyRow]):
    row, missing = ApiKeyRow, KeyNotFound

    def query(self) -> Select[tuple[ApiKeyRow]]:
        return super().query().where(ApiKeyRow.revoked_at.is_(None))

    async def page_for(
        self, caller: Principal, prefix: str | None, user_id: str | None, cursor: Cursor
    ) -> tuple[list[tuple[ApiKeyRow, Role]], str | None]:
        """The keys that the caller may see, each with the role of its user."""
        query = self.query().options(joinedload(ApiKeyRow.user, innerjoin=True))
        if Scope.ADMIN not in caller.scopes:
            query = query.where(ApiKeyRow.user_id == caller.user_id)
        if user_id is not None:
            query = query.where(ApiKeyRow.user_id == user_id)
        if prefix is not None:
            query = query.where(ApiKeyRow.prefix.startswith(prefix, autoescape=True))
        page = await self.page(cursor, query)
        return [(row, Role(row.user.role)) for row in page.items], page.next_cursor
