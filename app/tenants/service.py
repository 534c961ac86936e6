"""Making tenants. The first one, with its owner, is made when the service starts on an empty database."""

import secrets
from dataclasses import dataclass

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import Prefix, new_id
from app.core.tenancy import TenantID
from app.identity import service as identity
from app.keys.service import create_key
from app.settings import Settings
from app.tenants.tables import TenantRow

OWNER_EMAIL = "owner@whetstone.local"
_BOOTSTRAP_LOCK = 7_403_211


class NoSuchTenant(LookupError):
    """There is no tenant with this id."""


class NoSuchPlan(LookupError):
    """WHETSTONE_PLANS has no plan of this name."""


@dataclass(frozen=True)
class Owner:
    """The first owner's secrets, shown once."""

    email: str
    password: str
    api_key: str


async def bootstrap(session: AsyncSession) -> Owner | None:
    """Make the first tenant and its owner; None when there is one already. Safe to run in several processes."""
    await session.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _BOOTSTRAP_LOCK})
    if await session.scalar(select(TenantRow.id).limit(1)) is not None:
        return None
    tenant = TenantRow(id=new_id(Prefix.TENANT), name="Default")
    session.add(tenant)
    await session.flush()  # the user's row refers to it
    password = secrets.token_urlsafe(12)
    user = await identity.create_user(session, TenantID(tenant.id), OWNER_EMAIL, password)
    key = await create_key(session, TenantID(tenant.id), user.id, "first key")
    return Owner(OWNER_EMAIL, password, key.secret)


async def set_plan(session: AsyncSession, settings: Settings, tenant_id: str, plan: str) -> None:
    """Give a tenant another plan, from the next request on. Raises NoSuchPlan, NoSuchTenant."""
    if plan not in settings.plans:
        raise NoSuchPlan(f"{NoSuchPlan.__doc__} It has: {', '.join(settings.plans)}.")
    tenant = await session.get(TenantRow, tenant_id)
    if tenant is None:
        raise NoSuchTenant(NoSuchTenant.__doc__)
    tenant.plan = plan
