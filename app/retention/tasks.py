"""What the control worker does with the rules: applies each tenant's, and says in its audit log what went."""

from datetime import UTC, datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.core import audit, scope
from app.core.tenancy import TenantID
from app.retention import service
from app.retention.repository import ruled_any_tenant, rules_of

ACTION = "apply_retention"
log = structlog.get_logger()


async def sweep(sessions: async_sessionmaker[AsyncSession]) -> None:
    """Once through all tenants; each batch in a transaction of its own."""
    async with sessions() as session:
        tenants = await ruled_any_tenant(session)
    for tenant_id in tenants:
        try:
            with scope.tenant(tenant_id):
                while await _apply_once(sessions, TenantID(tenant_id)):
                    pass
        except Exception:  # one tenant's trouble must not keep the others' rules
            log.exception("rules could not be applied", tenant_id=tenant_id)


async def _apply_once(sessions: async_sessionmaker[AsyncSession], tenant_id: TenantID) -> bool:
    """Whether there is more."""
    async with sessions.begin() as session:
        row = await rules_of(session, tenant_id, for_update=True)
        if row is None:
            return False
        gone = await service.apply(session, tenant_id, row.rules)
        row.applied_at = datetime.now(UTC)
        if counts := gone.counts():
            audit.note(session, tenant_id, ACTION, counts)
            log.info("retention", tenant_id=tenant_id, **counts)
    return gone.more
