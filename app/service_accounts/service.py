"""Service accounts: made, changed, switched off; and their keys."""

from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import Prefix, new_id
from app.core.tenancy import TenantID
from app.identity.tables import ServiceAccountRow
from app.keys import service as keys
from app.keys.service import ScopeTooWide
from whetstone.contract.identity import Role
from whetstone.contract.keys import ApiKeyCreate, ApiKeyCreated
from whetstone.contract.service_accounts import ServiceAccountChange, ServiceAccountCreate, ServiceAccountRead


async def create(session: AsyncSession, tenant_id: TenantID, wanted: ServiceAccountCreate) -> ServiceAccountRow:
    row = ServiceAccountRow(id=new_id(Prefix.USER), tenant_id=tenant_id, name=wanted.name, role=wanted.role)
    session.add(row)
    await session.flush()  # the answer shows created_at
    await session.refresh(row)
    return row


def change(row: ServiceAccountRow, wanted: ServiceAccountChange) -> None:
    """The row must be locked. Requests with a key of a disabled account are refused from the commit on."""
    row.name = row.name if wanted.name is None else wanted.name
    row.role = row.role if wanted.role is None else wanted.role
    if wanted.enabled:
        row.disabled_at = None
    elif wanted.enabled is False:
        row.disabled_at = row.disabled_at or datetime.now(UTC)


async def order_key(session: AsyncSession, row: ServiceAccountRow, wanted: ApiKeyCreate) -> ApiKeyCreated:
    """A key of the account. Raises ScopeTooWide for more than its role has."""
    role = Role(row.role)
    if wanted.scopes is not None and not wanted.scopes <= role.scopes:
        raise ScopeTooWide(f"A {role} cannot be given these scopes.", hint="Give the account another role first.")
    days = wanted.expires_in_days
    ends = None if days is None else datetime.now(UTC) + timedelta(days=days)
    made = await keys.create_key(session, TenantID(row.tenant_id), row.id, wanted.name, wanted.scopes, ends)
    return keys.created(made, role)


def read(row: ServiceAccountRow) -> ServiceAccountRead:
    return ServiceAccountRead(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        enabled=row.disabled_at is None,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
    )
