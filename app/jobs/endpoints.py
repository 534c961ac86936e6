from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header, Query
from fastapi.responses import FileResponse, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AfterValidator
from sqlalchemy.ext.asyncio import AsyncSession

from app.artifacts import service as artifacts
from app.core.audit import CHANGES_NOTHING
from app.core.database import Session
from app.core.errors import problems
from app.core.etags import ChangedMeanwhile, IfMatch
from app.core.labels import RELABELLED, TooManyLabels
from app.core.listing import LISTING_ERRORS, Listing
from app.core.resources import BellDep, SessionsDep, SettingsDep, StorageDep
from app.core.storage import Storage
from app.core.tenancy import Principal
from app.datasets.service import DatasetNotFound
from app.fleet.endpoints import FleetDep
from app.fleet.service import NothingFound, SearchOver
from app.identity.caller import GUARDED, Caller, Writer
from app.identity.once import ONCE, ONCE_ERRORS
from app.identity.routing import Route
from app.jobs import service, study
from app.jobs.checks import REFUSALS, UNREACHABLE
from app.jobs.comparison import compare, each_once
from app.jobs.events import follow
from app.jobs.examples import OPENAPI_EXAMPLES
from app.jobs.ordering import InvalidOverrides, cloned
from app.jobs.repository import JobNotFound, JobRepository
from app.jobs.statistics import StatisticsMismatch
from app.models.service import ModelNotFound
from app.provenance import service as provenance
from app.usage.pricing import NoPrices
from app.usage.quotas import QuotaExceeded
from whetstone.contract.comparisons import MOST_COMPARED, Comparison
from whetstone.contract.estimates import JobEstimate
from whetstone.contract.jobs import ArtifactRead, JobRead, JobSpec, JobState, PlanKind
from whetstone.contract.labels import ResourceChange
from whetstone.contract.pages import Page
from whetstone.contract.provenance import Envelope
from whetstone.contract.reports import JobReport
from whetstone.contract.templates import Overrides
from whetstone.contract.tuning import TrialRead
from whetstone.contract.types import JobRef

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=Route)

ORDER_ERRORS = (ModelNotFound, DatasetNotFound, StatisticsMismatch, NoPrices, QuotaExceeded, *REFUSALS, *UNREACHABLE)
"""What ordering a job refuses."""


@router.post(
    "",
    status_code=202,
    dependencies=[ONCE],
    responses=problems(*GUARDED, *ONCE_ERRORS, *ORDER_ERRORS),
)
async def submit_job(
    spec: Annotated[JobSpec, Body(openapi_examples=OPENAPI_EXAMPLES)],
    caller: Writer,
    session: Session,
    fleet: FleetDep,
) -> JobRead:
    """Order an optimization. Everything that can be checked is checked now, before it is queued."""
    return await service.read(session, await service.submit(session, fleet, caller, spec))


@router.post(
    "/estimate",
    dependencies=[ONCE, CHANGES_NOTHING],
    responses=problems(
        *GUARDED,
        *ONCE_ERRORS,
        ModelNotFound,
        DatasetNotFound,
        StatisticsMismatch,
        NoPrices,
        QuotaExceeded,
        *REFUSALS,
    ),
)
async def estimate_job(
    spec: Annotated[JobSpec, Body(openapi_examples=OPENAPI_EXAMPLES)],
    caller: Caller,
    session: Session,
    settings: SettingsDep,
) -> JobEstimate:
    """What an order would take, and whether each target can be reached; nothing is ordered."""
    return await service.estimate(session, settings, caller, spec)


@router.get("", responses=problems(*GUARDED, *LISTING_ERRORS))
async def list_jobs(
    caller: Caller,
    session: Session,
    wanted: Listing,
    state: Annotated[JobState | None, Query(description="only in this state")] = None,
    kind: Annotated[PlanKind | None, Query(description="only with such a plan")] = None,
) -> Page[JobRead]:
    """Jobs, newest first, or as they are asked for."""
    return await service.read_list(session, caller.tenant_id, wanted.narrowed(state, kind))


@router.get("/compare", responses=problems(*GUARDED, JobNotFound))
async def compare_jobs(
    caller: Caller,
    session: Session,
    job: Annotated[tuple[JobRef, ...], AfterValidator(each_once), Query(min_length=2, max_length=MOST_COMPARED)],
) -> Comparison:
    """Two or more jobs side by side: what each came to, and everything that differs in what was ordered and done."""
    jobs = JobRepository(session, caller.tenant_id)
    return compare([await jobs.with_report(job_id) for job_id in job])


@router.get("/{job_id}", responses=problems(*GUARDED, JobNotFound))
async def get_job(job_id: JobRef, caller: Caller, session: Session) -> JobRead:
    """One job with its steps."""
    return await service.read(session, await JobRepository(session, caller.tenant_id).get(job_id))


@router.post(
    "/{job_id}/clone",
    status_code=202,
    dependencies=[ONCE],
    responses=problems(*GUARDED, *ONCE_ERRORS, JobNotFound, InvalidOverrides, *ORDER_ERRORS),
)
async def clone_job(
    job_id: JobRef,
    wanted: Annotated[Overrides, Body(examples=[{"targets": ["openvino/cpu"]}])],
    caller: Writer,
    session: Session,
    fleet: FleetDep,
) -> JobRead:
    """Order a job again, with what is to be other."""
    spec = cloned(await JobRepository(session, caller.tenant_id).get(job_id), wanted)
    return await service.read(session, await service.submit(session, fleet, caller, spec))


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    dependencies=[ONCE],
    responses=problems(*GUARDED, *ONCE_ERRORS, JobNotFound, service.JobFinished),
)
async def cancel_job(job_id: JobRef, caller: Writer, session: Session) -> JobRead:
    """Stop a job that has not finished."""
    return await service.read(session, await service.cancel(session, caller, job_id))


@router.post(
    "/{job_id}/finish",
    status_code=202,
    dependencies=[ONCE],
    responses=problems(*GUARDED, *ONCE_ERRORS, JobNotFound, service.JobFinished, SearchOver, NothingFound),
)
async def finish_job(job_id: JobRef, caller: Writer, session: Session, fleet: FleetDep) -> JobRead:
    """End the search, or the tuning, now and take the best so far, which is then proven like any result."""
    return await service.read(session, await service.finish_early(session, fleet, caller, job_id))


@router.patch("/{job_id}", responses=problems(*GUARDED, JobNotFound, TooManyLabels, ChangedMeanwhile))
async def change_job(
    job_id: JobRef,
    wanted: Annotated[ResourceChange, Body(examples=[RELABELLED])],
    caller: Writer,
    session: Session,
    expected: IfMatch,
) -> JobRead:
    """Give a job another name, or other labels."""
    return await service.change(session, caller, job_id, wanted, expected)


async def existing_job(job_id: JobRef, caller: Caller, sessions: SessionsDep) -> str:
    """Answers 404 before a stream begins, and holds no connection while it lasts."""
    async with sessions() as session:
        return (await JobRepository(session, caller.tenant_id).get(job_id)).id


@router.get("/{job_id}/events", response_class=EventSourceResponse, responses=problems(*GUARDED, JobNotFound))
async def stream_events(
    job_id: Annotated[str, Depends(existing_job)],
    sessions: SessionsDep,
    bell: BellDep,
    last_event_id: Annotated[int, Header(ge=0, description="go on after this event")] = 0,
) -> AsyncIterator[ServerSentEvent]:
    """The job's events as server-sent events, from the first or after Last-Event-ID, until it has finished."""
    async for event in follow(sessions, bell, job_id, last_event_id):
        yield ServerSentEvent(data=event, event=event.kind, id=str(event.seq))


@router.get("/{job_id}/report", responses=problems(*GUARDED, JobNotFound, service.ReportNotReady))
async def get_report(job_id: JobRef, caller: Caller, session: Session) -> JobReport:
    """What was measured, and the verdict."""
    return await service.read_report(session, caller, job_id)


@router.get(
    "/{job_id}/report.html",
    response_class=FileResponse,
    responses=problems(*GUARDED, JobNotFound, artifacts.ArtifactNotFound),
)
async def get_report_page(job_id: JobRef, caller: Caller, session: Session, storage: StorageDep) -> Response:
    """The report as one self-contained page."""
    return await _report_file(job_id, "report.html", caller, session, storage)


@router.get(
    "/{job_id}/report.md",
    response_class=FileResponse,
    responses=problems(*GUARDED, JobNotFound, artifacts.ArtifactNotFound),
)
async def get_report_text(job_id: JobRef, caller: Caller, session: Session, storage: StorageDep) -> Response:
    """The report as Markdown."""
    return await _report_file(job_id, "report.md", caller, session, storage)


async def _report_file(job_id: str, name: str, caller: Principal, session: AsyncSession, storage: Storage) -> Response:
    await JobRepository(session, caller.tenant_id).get(job_id)
    row = await artifacts.ArtifactRepository(session, caller.tenant_id).named(job_id, name)
    return storage.answer(row.file.key, row.file.sha256, name, row.media_type, kind="inline")


@router.get("/{job_id}/manifests", responses=problems(*GUARDED, JobNotFound))
async def list_manifests(job_id: JobRef, caller: Caller, session: Session) -> tuple[Envelope, ...]:
    """The signed manifests of the files that came out: DSSE envelopes of in-toto statements, see `/v1/signing-keys`."""
    await JobRepository(session, caller.tenant_id).get(job_id)
    return tuple((await provenance.of_job(session, caller.tenant_id, job_id)).values())


@router.get("/{job_id}/trials", responses=problems(*GUARDED, JobNotFound))
async def list_trials(job_id: JobRef, caller: Caller, session: Session) -> tuple[TrialRead, ...]:
    """The trials of a job that tunes, so far: those that have ended in the order in which they did, then the others."""
    return await study.read_trials(session, await JobRepository(session, caller.tenant_id).get(job_id))


@router.get("/{job_id}/artifacts", responses=problems(*GUARDED, JobNotFound))
async def list_artifacts(job_id: JobRef, caller: Caller, session: Session) -> tuple[ArtifactRead, ...]:
    """The files that came out."""
    await JobRepository(session, caller.tenant_id).get(job_id)
    rows = await artifacts.ArtifactRepository(session, caller.tenant_id).of_job(job_id)
    return tuple(artifacts.read(row) for row in rows)
