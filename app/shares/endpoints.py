from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Request
from fastapi.responses import HTMLResponse, Response

from app.artifacts import service as artifacts
from app.core.database import Session
from app.core.errors import problems
from app.core.limiter import Policy, TooManyRequests
from app.core.pagination import InvalidCursor, Paging
from app.core.resources import LimiterDep, SessionsDep, SettingsDep, StorageDep
from app.core.telemetry import add_headers
from app.identity.caller import GUARDED, Caller, Writer
from app.identity.once import ONCE, ONCE_ERRORS
from app.identity.routing import Route
from app.jobs.repository import JobNotFound, JobRepository
from app.jobs.service import ReportNotReady
from app.shares import service
from whetstone.contract.pages import Page
from whetstone.contract.reports import JobReport
from whetstone.contract.shares import ShareCreate, ShareCreated, ShareRead
from whetstone.contract.types import JobRef, ShareRef

router = APIRouter(prefix="/v1", tags=["shares"], route_class=Route)

_PRIVATE = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
"""Nothing of a link is kept, passed on or found, and the page loads nothing."""


@router.post(
    "/jobs/{job_id}/shares",
    status_code=201,
    dependencies=[ONCE],
    responses=problems(*GUARDED, *ONCE_ERRORS, JobNotFound, ReportNotReady),
)
async def create_share(
    job_id: JobRef,
    wanted: Annotated[ShareCreate, Body(examples=[{"expires_in_days": 30, "note": "for the customer"}])],
    caller: Writer,
    session: Session,
    settings: SettingsDep,
) -> ShareCreated:
    """Make a link by which anyone may look at the job's report. It is shown this once."""
    return await service.create(session, settings, caller, job_id, wanted)


@router.get("/jobs/{job_id}/shares", responses=problems(*GUARDED, JobNotFound, InvalidCursor))
async def list_shares(job_id: JobRef, caller: Caller, session: Session, paging: Paging) -> Page[ShareRead]:
    """The links to a job's report, newest first, those included that have ended."""
    await JobRepository(session, caller.tenant_id).get(job_id)
    shares = service.ShareRepository(session, caller.tenant_id)
    page = await shares.page(paging, shares.query().where(service.ShareRow.job_id == job_id))
    return Page(items=tuple(service.read(row) for row in page.items), next_cursor=page.next_cursor)


@router.delete(
    "/shares/{share_id}",
    status_code=204,
    response_class=Response,
    responses=problems(*GUARDED, service.ShareNotFound),
)
async def revoke_share(share_id: ShareRef, caller: Writer, session: Session) -> None:
    """End a link at once."""
    await service.revoke(session, caller, share_id)


async def _visit(
    link: Annotated[str, Path(description="what the link ends with")],
    request: Request,
    sessions: SessionsDep,
    limiter: LimiterDep,
) -> service.Visit:
    add_headers(request.scope, _PRIVATE)
    window = await limiter.hit(Policy.LINKS, request.client.host if request.client else "unknown")
    if window is not None:
        add_headers(request.scope, window.headers())
    return await service.follow(sessions, link)


Visit = Annotated[service.Visit, Depends(_visit)]


@router.get(
    "/shared/{link}",
    response_class=HTMLResponse,
    responses=problems(service.LinkNotFound, artifacts.ArtifactNotFound, TooManyRequests),
)
async def read_shared_page(link: Visit, request: Request, session: Session, storage: StorageDep) -> HTMLResponse:
    """The report behind a link, as a page that loads nothing. Whoever has the link may read it."""
    row = await artifacts.ArtifactRepository(session, link.tenant_id).named(link.job_id, "report.html")
    await service.note_visit(session, request, link)
    return HTMLResponse(
        await storage.whole(row.file.key)
    )  # through us, so that no link into a bucket outlives this one


@router.get("/shared/{link}/report", responses=problems(service.LinkNotFound, ReportNotReady, TooManyRequests))
async def read_shared_report(link: Visit, request: Request, session: Session) -> JobReport:
    """The report behind a link, as data."""
    job = await JobRepository(session, link.tenant_id).with_report(link.job_id)
    if job.report is None:
        raise ReportNotReady
    await service.note_visit(session, request, link)
    return job.report
