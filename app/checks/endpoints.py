from typing import Annotated

from fastapi import APIRouter, Body

from app.checks import service
from app.core.database import Session
from app.core.errors import problems
from app.core.pagination import InvalidCursor, Paging
from app.core.resources import BellDep, SessionsDep
from app.fleet.endpoints import FleetDep
from app.identity.caller import GUARDED, Caller, Writer
from app.identity.once import ONCE, ONCE_ERRORS
from app.identity.routing import Route
from app.jobs.checks import NotReady, Rejected
from app.jobs.repository import JobNotFound
from app.jobs.service import ReportNotReady
from app.models.service import ModelNotFound
from app.uploads.waiting import Wait
from app.usage.quotas import QuotaExceeded
from whetstone.contract.checks import CheckLimits, CheckRead, CheckSpec
from whetstone.contract.pages import Page
from whetstone.contract.types import CheckRef

router = APIRouter(prefix="/v1/checks", tags=["checks"], route_class=Route)

_EXAMPLE = CheckSpec(
    against="job_01h455vb4pex5vsknk084sn02q",
    model_id="mdl_01h455vb4pex5vsknk084sn02q",
    limits=CheckLimits(max_drop=0.5, max_slowdown=1.1, max_growth=1.05),
)
_EXAMPLES = [_EXAMPLE.model_dump(mode="json", exclude_none=True)]


@router.post(
    "",
    status_code=202,
    dependencies=[ONCE],
    responses=problems(
        *GUARDED,
        *ONCE_ERRORS,
        JobNotFound,
        ModelNotFound,
        ReportNotReady,
        NotReady,
        Rejected,
        service.NothingToCheck,
        service.InterfaceDiffers,
        QuotaExceeded,
    ),
)
async def create_check(
    spec: Annotated[CheckSpec, Body(examples=_EXAMPLES)], caller: Writer, session: Session, fleet: FleetDep
) -> CheckRead:
    """See whether a candidate has become worse than what a job came to. Two jobs are compared at once, by their
    reports; a model is measured beside the baseline first.
    """
    return service.read(await service.create(session, fleet, caller, spec))


@router.get("", responses=problems(*GUARDED, InvalidCursor))
async def list_checks(caller: Caller, session: Session, paging: Paging) -> Page[CheckRead]:
    """Checks, newest first."""
    page = await service.CheckRepository(session, caller.tenant_id).page(paging)
    return Page(items=tuple(service.read(row) for row in page.items), next_cursor=page.next_cursor)


@router.get("/{check_id}", responses=problems(*GUARDED, service.CheckNotFound))
async def get_check(check_id: CheckRef, caller: Caller, sessions: SessionsDep, bell: BellDep, wait: Wait) -> CheckRead:
    """One check; with `Prefer: wait=N` once it has ended."""
    return service.read(await service.wait_finished(sessions, bell, caller.tenant_id, check_id, wait))


@router.post(
    "/{check_id}/cancel",
    status_code=202,
    dependencies=[ONCE],
    responses=problems(*GUARDED, *ONCE_ERRORS, service.CheckNotFound, service.CheckFinished),
)
async def cancel_check(check_id: CheckRef, caller: Writer, session: Session) -> CheckRead:
    """Stop a check that has not finished."""
    return service.read(await service.cancel(session, caller, check_id))
