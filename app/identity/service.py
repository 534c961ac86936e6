"""Who a request comes from: an API key, a browser's session, or an email address and password."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, String, bindparam, column, delete, select, table, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.core.errors import AppError
from app.core.ids import Prefix, new_id
from app.core.scope import any_tenant
from app.core.tenancy import Principal, TenantID
from app.identity.secrets import digest, passwords
from app.identity.tables import ApiKeyRow, SessionRow, UserRow
from whetstone.contract.identity import Role, Scope

_tenants = table("tenants", column("id", String), column("plan", String))  # by name: its slice lies above this one
USED_EXACTNESS = timedelta(minutes=1)
SESSION_IDLE = timedelta(hours=12)
SESSION_LONGEST = timedelta(days=14)
_users, _keys, _sessions = (row.__table__ for row in (UserRow, ApiKeyRow, SessionRow))  # every request asks these
_WHO = (_users.c.tenant_id, _users.c.id.label("user_id"), _users.c.role, _tenants.c.plan)
_BY_KEY = (
    select(_keys.c.id, _keys.c.scopes, _keys.c.expires_at, _keys.c.last_used_at, *_WHO)
    .select_from(_keys.join(_users, _users.c.id == _keys.c.user_id).join(_tenants, _tenants.c.id == _users.c.tenant_id))
    .where(_keys.c.digest == bindparam("digest"), _keys.c.revoked_at.is_(None), _users.c.disabled_at.is_(None))
)
_BY_SESSION = (
    select(_sessions.c.id, _sessions.c.created_at, _sessions.c.last_seen_at, *_WHO)
    .select_from(
        _sessions.join(_users, _users.c.id == _sessions.c.user_id).join(_tenants, _tenants.c.id == _users.c.tenant_id)
    )
    .where(_sessions.c.digest == bindparam("digest"))
)


class Unauthorized(AppError):
    """The request carries no valid API key, and no session."""

    code, status = "unauthorized", 401
    hint = "Send it as `Authorization: Bearer whet_…`; `whet login` makes one."


class Forbidden(AppError):
    """This key, or the role of its user, does not allow this."""

    code, status = "forbidden", 403
    hint = "Use a key with the scope that is named, of a user whose role has it."


async def create_user(
    session: AsyncSession, tenant_id: TenantID, email: str, password: str | None, role: Role = Role.OWNER
) -> UserRow:
    user = UserRow(
        id=new_id(Prefix.USER),
        tenant_id=tenant_id,
        email=email.lower(),
        password_hash=None if password is None else passwords().hash(password),
        role=role,
    )
    session.add(user)
    await session.flush()  # keys refer to it
    return user


async def by_key(session: AsyncSession, secret: str) -> Principal:
    """The caller behind an API key. Raises Unauthorized."""
    now = datetime.now(UTC)
    row = (await (await session.connection()).execute(_BY_KEY, {"digest": digest(secret)})).one_or_none()
    if row is None or (row.expires_at is not None and row.expires_at <= now):
        raise Unauthorized
    if row.last_used_at is None or now - row.last_used_at > USED_EXACTNESS:
        await session.execute(update(ApiKeyRow).where(ApiKeyRow.id == row.id).values(last_used_at=now))
    return _principal(row, row.scopes, restricted=row.scopes is not None or row.expires_at is not None)


async def by_session(session: AsyncSession, secret: str) -> Principal:
    """The caller behind a session's cookie. Raises Unauthorized."""
    now = datetime.now(UTC)
    row = (await (await session.connection()).execute(_BY_SESSION, {"digest": digest(secret)})).one_or_none()
    if row is None or now - row.last_seen_at > SESSION_IDLE or now - row.created_at > SESSION_LONGEST:
        raise Unauthorized
    if now - row.last_seen_at > USED_EXACTNESS:
        await session.execute(update(SessionRow).where(SessionRow.id == row.id).values(last_seen_at=now))
    return _principal(row, None, restricted=False)


async def forget_session(sessions: async_sessionmaker[AsyncSession], secret: str | None) -> None:
    """End the session behind a cookie, whoever's it is."""
    if not secret:
        return
    with any_tenant():
        async with sessions.begin() as session:
            await session.execute(delete(SessionRow).where(SessionRow.digest == digest(secret)))


def _principal(row: Row[*tuple[Any, ...]], scopes: frozenset[Scope] | None, *, restricted: bool) -> Principal:
    """What a key may do is limited by what its user may do today."""
    role = Role(row.role)
    allowed = role.scopes if scopes is None else role.scopes & scopes
    return Principal(TenantID(row.tenant_id), row.user_id, row.id, role, allowed, restricted, row.plan)
