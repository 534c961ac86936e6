"""API keys: made, rotated, revoked. Their secrets are kept as hashes only."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import AppError
from app.core.ids import Prefix, new_id
from app.core.tenancy import Principal, TenantID
from app.identity.secrets import digest, new_secret
from app.identity.tables import ApiKeyRow, ServiceAccountRow
from app.keys.repository import KeyNotFound, KeyRepository
from whetstone.contract.identity import Role, Scope
from whetstone.contract.keys import ApiKeyCreate, ApiKeyCreated, ApiKeyRead

KEY_START = "whet_"
PREFIX_LETTERS = 12


class ScopeTooWide(AppError):
    """A key cannot be allowed more than the caller is."""

    code, status = "scope_too_wide", 422
    hint = "Name scopes that you have yourself, as `GET /v1/me` shows them."


@dataclass(frozen=True)
class NewKey:
    """A key just made; the secret is not kept and cannot be shown again."""

    row: ApiKeyRow
    secret: str


async def create_key(
    session: AsyncSession,
    tenant_id: TenantID,
    user_id: str,
    name: str,
    scopes: frozenset[Scope] | None = None,
    expires_at: datetime | None = None,
) -> NewKey:
    secret = new_secret(KEY_START)
    row = ApiKeyRow(
        id=new_id(Prefix.KEY),
        tenant_id=tenant_id,
        user_id=user_id,
        name=name,
        prefix=secret[:PREFIX_LETTERS],
        digest=digest(secret),
        scopes=scopes,
        expires_at=expires_at,
    )
    session.add(row)
    await session.flush()  # the caller shows the row's created_at
    await session.refresh(row)
    return NewKey(row, secret)


async def order_key(session: AsyncSession, caller: Principal, wanted: ApiKeyCreate) -> ApiKeyCreated:
    """A key of the caller, who can pass on no more than the caller has. Raises ScopeTooWide."""
    if wanted.scopes is not None and not wanted.scopes <= caller.scopes:
        raise ScopeTooWide
    days = wanted.expires_in_days
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    made = await create_key(session, caller.tenant_id, caller.user_id, wanted.name, wanted.scopes, expires_at)
    return created(made, caller.role)


async def revoke(session: AsyncSession, caller: Principal, key_id: str) -> None:
    """End a key: the one that asks, one's own, or as an admin anyone's. Raises KeyNotFound."""
    row = await KeyRepository(session, caller.tenant_id).get(key_id, for_update=True)
    own = row.id == caller.key_id or (row.user_id == caller.user_id and not caller.restricted)
    if not own and Scope.ADMIN not in caller.scopes:
        raise KeyNotFound
    row.revoked_at = datetime.now(UTC)


async def rotate(session: AsyncSession, caller: Principal, key_id: str, overlap: timedelta) -> ApiKeyCreated:
    """A new key like the one that asks, another of the caller's, or for an admin one of a service account; the old one
    ends after `overlap`. Raises KeyNotFound.
    """
    old = await KeyRepository(session, caller.tenant_id).get(key_id, for_update=True)
    # Whoever rotates a key gets to know the new one.
    if caller.restricted and old.id != caller.key_id:
        raise KeyNotFound
    role = caller.role if old.user_id == caller.user_id else await _role_of_program(session, caller, old.user_id)
    made = await create_key(session, caller.tenant_id, old.user_id, old.name, old.scopes, old.expires_at)
    end = datetime.now(UTC) + overlap
    old.expires_at = end if old.expires_at is None else min(old.expires_at, end)
    return created(made, role)


async def _role_of_program(session: AsyncSession, caller: Principal, account_id: str) -> Role:
    """Raises KeyNotFound for a person, whose keys are nobody else's to know, and where the caller is no admin."""
    account = await session.get(ServiceAccountRow, account_id)
    if account is None or Scope.ADMIN not in caller.scopes:
        raise KeyNotFound
    return Role(account.role)


def _effective(row: ApiKeyRow, role: Role) -> frozenset[Scope]:
    return role.scopes if row.scopes is None else row.scopes & role.scopes


def read(row: ApiKeyRow, role: Role) -> ApiKeyRead:
    return ApiKeyRead(
        id=row.id,
        user_id=row.user_id,
        name=row.name,
        prefix=row.prefix,
        scopes=tuple(sorted(_effective(row, role))),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )


def created(made: NewKey, role: Role) -> ApiKeyCreated:
    return ApiKeyCreated(**dict(read(made.row, role)), secret=made.secret)
