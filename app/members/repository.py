from datetime import UTC, datetime, timedelta

from sqlalchemy import Select, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import AppError
from app.core.tenancy import TenantRepository
from app.identity.secrets import digest
from app.identity.tables import InvitationRow, SessionRow, UserRow
from whetstone.contract.identity import Role

INVITED_FOR = timedelta(days=7)


class MemberNotFound(AppError):
    """There is no such member."""

    code, status = "member_not_found", 404


class InvitationNotFound(AppError):
    """There is no such invitation: it was taken up, taken back, or is older than seven days."""

    code, status = "invitation_not_found", 404


class SessionNotFound(AppError):
    """There is no such session."""

    code, status = "session_not_found", 404


class MemberRepository(TenantRepository[UserRow]):
    row, missing = UserRow, MemberNotFound

    async def lock_owners(self) -> int:
        """How many owners there are, locked so that two of them cannot leave at once."""
        query = select(UserRow.id).where(UserRow.tenant_id == self.tenant_id, UserRow.role == Role.OWNER)
        return len((await self.session.scalars(query.order_by(UserRow.id).with_for_update())).all())


class InvitationRepository(TenantRepository[InvitationRow]):
    row, missing = InvitationRow, InvitationNotFound

    def query(self) -> Select[tuple[InvitationRow]]:
        return super().query().where(InvitationRow.expires_at > datetime.now(UTC))


class SessionRepository(TenantRepository[SessionRow]):
    row, missing = SessionRow, SessionNotFound

    async def of_user(self, user_id: str) -> list[SessionRow]:
        query = self.query().where(SessionRow.user_id == user_id).order_by(SessionRow.id.desc())
        return list(await self.session.scalars(query))

    async def end(self, user_id: str, but: str | None = None) -> None:
        """Every session of a user ends, but one."""
        query = delete(SessionRow).where(SessionRow.tenant_id == self.tenant_id, SessionRow.user_id == user_id)
        await self.session.execute(query if but is None else query.where(SessionRow.id != but))


async def invited_any_tenant(session: AsyncSession, token: str) -> InvitationRow:
    """The invitation that a token belongs to, locked. Raises InvitationNotFound."""
    query = select(InvitationRow).where(
        InvitationRow.digest == digest(token), InvitationRow.expires_at > datetime.now(UTC)
    )
    row = await session.scalar(query.with_for_update())
    if row is None:
        raise InvitationNotFound
    return row
