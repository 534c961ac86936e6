"""Links by which anyone may look at one report: made, listed, revoked, followed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.requests import Request

from app.core import audit
from app.core.errors import AppError
from app.core.ids import Prefix, new_id
from app.core.scope import any_tenant, enter_tenant
from app.core.tenancy import Principal, TenantID, TenantRepository
from app.identity.secrets import digest, new_secret
from app.jobs import service as jobs
from app.settings import Settings
from app.shares.tables import ShareRow
from whetstone.contract.shares import ShareCreate, ShareCreated, ShareRead

SECRET_START = "share_"  # noqa: S105 - what every secret begins with
PATH = "/v1/shared"


class ShareNotFound(AppError):
    """There is no such link, or it has been revoked."""

    code, status = "share_not_found", 404


class LinkNotFound(AppError):
    """This link leads nowhere: it never did, has expired, or was revoked."""

    code, status = "link_not_found", 404
    hint = "Ask whoever gave it to you for a new one."


class ShareRepository(TenantRepository[ShareRow]):
    row, missing = ShareRow, ShareNotFound


@dataclass(frozen=True)
class Visit:
    """What a good link leads to."""

    share_id: str
    tenant_id: TenantID
    job_id: str
    user_id: str


async def create(
    session: AsyncSession, settings: Settings, caller: Principal, job_id: str, wanted: ShareCreate
) -> ShareCreated:
    """Raises JobNotFound, ReportNotReady."""
    await jobs.read_report(session, caller, job_id)
    secret = new_secret(SECRET_START)
    row = ShareRow(
        id=new_id(Prefix.SHARE),
        tenant_id=caller.tenant_id,
        job_id=job_id,
        user_id=caller.user_id,
        note=wanted.note,
        digest=digest(secret),
        expires_at=datetime.now(UTC) + timedelta(days=wanted.expires_in_days),
    )
    session.add(row)
    await session.flush()  # the answer shows created_at
    await session.refresh(row)
    return ShareCreated(**dict(read(row)), url=f"{settings.public_url}{PATH}/{secret}")


async def revoke(session: AsyncSession, caller: Principal, share_id: str) -> None:
    """End a link at once; ending it again changes nothing. Raises ShareNotFound."""
    row = await ShareRepository(session, caller.tenant_id).get(share_id, for_update=True)
    row.revoked_at = row.revoked_at or datetime.now(UTC)


async def follow(sessions: async_sessionmaker[AsyncSession], secret: str) -> Visit:
    """What a link leads to; from here on the request sees the rows of its tenant. Raises LinkNotFound."""
    query = select(ShareRow).where(
        ShareRow.digest == digest(secret), ShareRow.revoked_at.is_(None), ShareRow.expires_at > datetime.now(UTC)
    )
    with any_tenant():
        async with sessions() as session:
            row = await session.scalar(query)
    if row is None:
        raise LinkNotFound
    enter_tenant(row.tenant_id)
    return Visit(row.id, TenantID(row.tenant_id), row.job_id, row.user_id)


async def note_visit(session: AsyncSession, request: Request, visit: Visit) -> None:
    """Each look is counted, and leaves a line in the audit log under the name of who made the link."""
    seen = {"views": ShareRow.views + 1, "last_viewed_at": datetime.now(UTC)}
    mine = (ShareRow.tenant_id == visit.tenant_id, ShareRow.id == visit.share_id)
    await session.execute(update(ShareRow).where(*mine).values(seen))
    audit.write(session, request, visit.tenant_id, visit.user_id, None, visit.share_id, {"job_id": visit.job_id})


def read(row: ShareRow) -> ShareRead:
    return ShareRead(
        id=row.id,
        job_id=row.job_id,
        user_id=row.user_id,
        note=row.note,
        views=row.views,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_viewed_at=row.last_viewed_at,
    )
