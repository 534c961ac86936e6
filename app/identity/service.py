"""Users, API keys, and who a request comes from."""

import hashlib
import secrets
from dataclasses import dataclass
from functools import cache

from pwdlib import PasswordHash
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import AppError
from app.core.ids import Prefix, new_id
from app.core.tenancy import Principal, TenantID
from app.identity.tables import ApiKeyRow, UserRow

KEY_START = "whet_"


class Unauthorized(AppError):
    """The request carries no valid API key."""

    code, status = "unauthorized", 401
    hint = "Send it as `Authorization: Bearer whet_…`; `whet login` makes one."


class WrongLogin(AppError):
    """The email address or the password is wrong."""

    code, status = "wrong_login", 401


@dataclass(frozen=True)
class NewKey:
    """A key just made; the secret is not kept and cannot be shown again."""

    row: ApiKeyRow
    secret: str


@cache
def _passwords() -> PasswordHash:
    return PasswordHash.recommended()


def _digest(secret: str) -> bytes:
    # The secret has 256 random bits, so one round of SHA-256 is as good as a slow hash, and quick to look up.
    return hashlib.sha256(secret.encode()).digest()


async def create_user(session: AsyncSession, tenant_id: TenantID, email: str, password: str) -> UserRow:
    user = UserRow(
        id=new_id(Prefix.USER), tenant_id=tenant_id, email=email.lower(), password_hash=_passwords().hash(password)
    )
    session.add(user)
    await session.flush()  # keys refer to it
    return user


async def create_key(session: AsyncSession, tenant_id: TenantID, user_id: str, name: str) -> NewKey:
    secret = KEY_START + secrets.token_urlsafe(32)
    row = ApiKeyRow(
        id=new_id(Prefix.KEY),
        tenant_id=tenant_id,
        user_id=user_id,
        name=name,
        prefix=secret[:12],
        digest=_digest(secret),
    )
    session.add(row)
    await session.flush()  # the caller shows the row's created_at
    await session.refresh(row)
    return NewKey(row, secret)


async def authenticate(session: AsyncSession, secret: str) -> Principal:
    """The caller behind an API key. Raises Unauthorized."""
    query = select(ApiKeyRow).where(ApiKeyRow.digest == _digest(secret), ApiKeyRow.revoked_at.is_(None))
    row = await session.scalar(query)
    if row is None:
        raise Unauthorized
    return Principal(TenantID(row.tenant_id), row.user_id, row.id)


async def check_login(session: AsyncSession, email: str, password: str) -> UserRow:
    """The user with this password. Takes as long for an unknown address as for a known one. Raises WrongLogin."""
    user = await session.scalar(select(UserRow).where(UserRow.email == email.lower()))
    if user is None:
        _passwords().hash(password)
        raise WrongLogin
    if not _passwords().verify(password, user.password_hash):
        raise WrongLogin
    return user
