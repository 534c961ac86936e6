"""An owner has the tenant deleted, after days in which that can be called off."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.closing.tables import ClosingRow
from app.core.errors import AppError
from app.core.ids import Prefix, new_id
from app.core.tenancy import Principal, TenantID
from app.identity.service import Forbidden
from app.settings import Settings
from app.tenants.tables import TenantRow
from whetstone.contract.identity import Role
from whetstone.contract.tenants import ClosingRead, ClosingRequest, TenantRead


class NameDiffers(AppError):
    """This is not the tenant's name, so nothing was done."""

    code, status = "name_differs", 422
    hint = "`GET /v1/tenant` has the name; send it as it is there."


class NotClosing(AppError):
    """Nobody has asked for the tenant to be deleted."""

    code, status = "not_closing", 404


async def read(session: AsyncSession, settings: Settings, tenant_id: TenantID) -> TenantRead:
    tenant = await _tenant(session, tenant_id)
    closing = await _closing(session, tenant_id)
    return TenantRead(
        id=tenant.id,
        name=tenant.name,
        plan=settings.plan(tenant.plan),
        created_at=tenant.created_at,
        closing=None if closing is None else read_closing(closing),
    )


async def close(session: AsyncSession, settings: Settings, caller: Principal, wanted: ClosingRequest) -> ClosingRead:
    """Asked again, it is as was said the first time. Raises Forbidden, NameDiffers."""
    _check_owner(caller)
    tenant = await _tenant(session, caller.tenant_id, for_update=True)
    if tenant.name != wanted.name:
        raise NameDiffers
    row = await _closing(session, caller.tenant_id)
    if row is None:
        now = datetime.now(UTC)
        row = ClosingRow(
            tenant_id=caller.tenant_id,
            receipt_id=new_id(Prefix.RECEIPT),
            requested_by=caller.user_id,
            requested_at=now,
            due_at=now + timedelta(days=settings.limits.closing_days),
        )
        session.add(row)
    return read_closing(row)


async def keep_open(session: AsyncSession, caller: Principal) -> None:
    """Raises Forbidden, NotClosing."""
    _check_owner(caller)
    await _tenant(session, caller.tenant_id, for_update=True)
    row = await _closing(session, caller.tenant_id)
    if row is None:
        raise NotClosing
    await session.delete(row)


def _check_owner(caller: Principal) -> None:
    if caller.role is not Role.OWNER:
        raise Forbidden("Only an owner may have the tenant deleted.")


async def _tenant(session: AsyncSession, tenant_id: TenantID, *, for_update: bool = False) -> TenantRow:
    query = select(TenantRow).where(TenantRow.id == tenant_id)
    return (await session.scalars(query.with_for_update() if for_update else query)).one()


async def _closing(session: AsyncSession, tenant_id: TenantID) -> ClosingRow | None:
    found: ClosingRow | None = await session.scalar(select(ClosingRow).where(ClosingRow.tenant_id == tenant_id))
    return found


def read_closing(row: ClosingRow) -> ClosingRead:
    return ClosingRead(
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        due_at=row.due_at,
        receipt_id=row.receipt_id,
    )
