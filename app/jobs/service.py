"""Submitting, reading and cancelling jobs."""

from collections.abc import Sequence
from typing import assert_never

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import terms
from app.core.errors import AppError
from app.core.etags import Expected
from app.core.ids import Prefix, new_id
from app.core.labels import changed
from app.core.listing import Wanted
from app.core.tenancy import Principal, TenantID
from app.datasets.service import DatasetRepository
from app.datasets.tables import DatasetRow
from app.fleet import service as fleet_service
from app.fleet.repository import Glance, StepRepository
from app.fleet.service import Fleet
from app.fleet.tables import StepInput, StepRow
from app.jobs import study
from app.jobs.checks import check_job, check_ready, check_source, check_targets, other_models, source_dataset
from app.jobs.estimate import estimate_job
from app.jobs.events import tell, tell_step
from app.jobs.finishing import finish_if_cancelled
from app.jobs.history import remember
from app.jobs.presets import preset_of
from app.jobs.prices import price_of, within_money
from app.jobs.repository import JobRepository, found_page, hold_any_tenant, read_page
from app.jobs.statistics import check_holds_samples, check_statistics
from app.jobs.tables import JobRow
from app.jobs.using import mark_used
from app.models.service import ModelRepository
from app.models.tables import ModelRow
from app.settings import Settings
from app.usage import quotas
from whetstone.contract.estimates import JobEstimate
from whetstone.contract.jobs import EventKind, JobRead, JobSpec, JobState, Recipe, StepKind, StepRead, StepState
from whetstone.contract.labels import ResourceChange
from whetstone.contract.pages import Page
from whetstone.contract.presets import Preset
from whetstone.contract.reports import JobReport
from whetstone.contract.search import Search
from whetstone.contract.steps import InputRole, Optimize, SearchRecipe
from whetstone.contract.targets import HardwareClass, Target, hardware_of
from whetstone.contract.tuning import Tune

SEARCH_GRACE = 2.0  # a search looks at its limit between trials, so it needs some time over


class JobFinished(AppError):
    """The job has finished, or is being cancelled."""

    code, status = "job_finished", 409


class ReportNotReady(AppError):
    """The job has no report: it has not finished, or did not succeed."""

    code, status = "report_not_ready", 409


async def submit(session: AsyncSession, fleet: Fleet, caller: Principal, spec: JobSpec) -> JobRow:
    """Check the order against the inspected files, then write the job and its first step."""
    model, dataset = await _checked(session, fleet.settings, caller, spec)
    if model.facts is not None:
        check_targets(spec, model.facts)
    spec = within_money(spec, fleet.settings)
    job = JobRow(
        id=new_id(Prefix.JOB),
        tenant_id=caller.tenant_id,
        name=spec.name or model.name,
        labels=spec.labels,
        model_id=model.id,
        dataset_id=spec.dataset_id,
        spec=spec.model_copy(update={"labels": {}}),
        state=JobState.QUEUED,
    )
    session.add(job)
    await session.flush()  # steps and events refer to it
    await terms.write(session, job.tenant_id, job.id, job.name, job.labels, job.kind)
    await tell(session, job, EventKind.JOB_QUEUED, job_state=JobState.QUEUED)
    inputs = original_inputs(model, dataset or None) + await _other_inputs(session, caller, spec, model)
    await mark_used(session, caller.tenant_id, {given.file_id for given in inputs})
    await _queue_first(session, fleet, job, model, inputs, preset_of(spec, model, dataset))
    await session.flush()  # the answer shows created_at
    await session.refresh(job)
    return job


async def _checked(
    session: AsyncSession, settings: Settings, caller: Principal, spec: JobSpec
) -> tuple[ModelRow, DatasetRow | None]:
    """What the order is about. Raises ModelNotFound, DatasetNotFound, QuotaExceeded, and what `check_job` does."""
    model = await ModelRepository(session, caller.tenant_id).get(spec.model_id)
    dataset = spec.dataset_id and await DatasetRepository(session, caller.tenant_id).get(spec.dataset_id)
    check_holds_samples(dataset or None)
    check_job(spec, model, dataset or None)
    hardware = {HardwareClass.CPU, *map(hardware_of, spec.targets)}
    await quotas.check_order(session, settings, caller.tenant_id, hardware)
    return model, dataset or None


async def estimate(session: AsyncSession, settings: Settings, caller: Principal, spec: JobSpec) -> JobEstimate:
    """What the order would take. Raises what submitting it would."""
    model, dataset = await _checked(session, settings, caller, spec)
    await _other_inputs(session, caller, spec, model)
    found = await estimate_job(session, caller.tenant_id, within_money(spec, settings), model, dataset)
    return found.model_copy(update={"price": price_of(found.steps, settings)})


async def _other_inputs(
    session: AsyncSession, caller: Principal, spec: JobSpec, model: ModelRow
) -> tuple[StepInput, ...]:
    """The other models and datasets that the order names: the tenant's own, inspected like any."""
    passes = () if isinstance(spec.plan, Search) else spec.plan.passes
    inputs = []
    for role, model_id in other_models(passes).items():
        row = await ModelRepository(session, caller.tenant_id).get(model_id)
        check_ready(row, role)
        inputs.append(model_input(role, row))
    if spec.calibration_id is not None:
        statistics = await DatasetRepository(session, caller.tenant_id).get(spec.calibration_id)
        check_statistics(spec, model, statistics)
        inputs.append(dataset_input(InputRole.CALIBRATION, statistics))
    source_id = source_dataset(passes)
    if source_id is not None and model.facts is not None:
        source = await DatasetRepository(session, caller.tenant_id).get(source_id)
        check_source(passes, model.facts, source)
        inputs.append(dataset_input(InputRole.SOURCE, source))
    return tuple(inputs)


async def _queue_first(
    session: AsyncSession, fleet: Fleet, job: JobRow, model: ModelRow, inputs: tuple[StepInput, ...], preset: Preset
) -> None:
    """The step that begins to carry out the plan."""
    spec, tenant_id = job.spec, TenantID(job.tenant_id)
    seconds = spec.budget.max_minutes * 60
    match spec.plan:
        case Tune():
            await study.queue_trial(session, fleet, job, spec.plan, 0, inputs, preset)
            return
        case Recipe():
            task: Optimize | SearchRecipe = Optimize(passes=spec.plan.passes, batch_size=spec.measurement.batch_size)
        case Search():
            task = SearchRecipe(
                limit=spec.plan.limit,
                targets=spec.targets,
                budget=spec.budget,
                measurement=spec.measurement,
                input_shapes=spec.input_shapes,
                preset=preset,
                history=await remember(session, tenant_id, model, spec.targets),
            )
            seconds = max(seconds, 60 * spec.plan.limit.minutes * SEARCH_GRACE)
        case _:
            assert_never(spec.plan)
    step = await fleet_service.queue_step(session, fleet, tenant_id, job.id, task, inputs, seconds)
    await tell_step(session, job, EventKind.STEP_QUEUED, step)


def original_inputs(model: ModelRow, dataset: DatasetRow | None) -> tuple[StepInput, ...]:
    inputs = [model_input(InputRole.MODEL, model)]
    if dataset is not None:
        inputs.append(dataset_input(InputRole.DATASET, dataset))
    return tuple(inputs)


def model_input(role: InputRole, model: ModelRow) -> StepInput:
    """The model as ONNX, whatever it came as."""
    if model.imported_file_id is None:
        return StepInput(role=role, file_id=model.file_id, filename=model.filename)
    return StepInput(role=role, file_id=model.imported_file_id, filename="imported.onnx")


def dataset_input(role: InputRole, row: DatasetRow) -> StepInput:
    return StepInput(role=role, file_id=row.file_id, filename=row.filename, preprocessing=row.preprocessing)


async def cancel(session: AsyncSession, caller: Principal, job_id: str) -> JobRow:
    """Stop a job: what waits is cancelled at once, what runs is asked to stop. Raises JobFinished."""
    await JobRepository(session, caller.tenant_id).get(job_id)
    job = await hold_any_tenant(session, job_id)
    if JobState(job.state).is_final:
        raise JobFinished
    if job.state != JobState.CANCELLING:
        job.state = JobState.CANCELLING
        await tell(session, job, EventKind.JOB_CANCELLING, job_state=JobState.CANCELLING)
    for step in await StepRepository(session, caller.tenant_id).of_subject(job.id):
        await fleet_service.request_cancel(session, step)
        await study.note_cancelled(session, step)
    await finish_if_cancelled(session, job)
    return job


async def finish_early(session: AsyncSession, fleet: Fleet, caller: Principal, job_id: str) -> JobRow:
    """End the job's search, or its tuning, with the best so far. Raises JobFinished, SearchOver, NothingFound."""
    await JobRepository(session, caller.tenant_id).get(job_id)
    job = await hold_any_tenant(session, job_id)
    if JobState(job.state).is_final or job.state == JobState.CANCELLING:
        raise JobFinished
    if isinstance(job.spec.plan, Tune):
        ended = await study.wrap_up(session, fleet, job)
    else:
        ended = await _wrap_up_search(session, job)
    if ended is not None:
        await tell_step(session, job, EventKind.JOB_FINISHING, ended)
    return job


async def _wrap_up_search(session: AsyncSession, job: JobRow) -> StepRow | None:
    """The step of the search; None when it was asked to end before."""
    first = (await StepRepository(session, TenantID(job.tenant_id)).of_subject(job.id))[0]
    asked_before = fleet_service.is_wrapping_up(first)
    await fleet_service.wrap_up(session, first)
    return None if asked_before else first


async def change(
    session: AsyncSession, caller: Principal, job_id: str, wanted: ResourceChange, expected: Expected
) -> JobRead:
    """Raises JobNotFound, ChangedMeanwhile, TooManyLabels."""
    job = await JobRepository(session, caller.tenant_id).get(job_id, for_update=True)
    expected.check(await read(session, job))
    job.labels = changed(job.labels, wanted)
    job.name = wanted.name or job.name
    await terms.write(session, job.tenant_id, job.id, job.name, job.labels, job.kind)
    return await read(session, job)


async def read_list(session: AsyncSession, tenant_id: TenantID, wanted: Wanted) -> Page[JobRead]:
    """What everybody polls is answered in one statement."""
    if wanted.plain is not None:
        return await read_page(session, tenant_id, wanted.plain)
    rows, cursor = await found_page(session, tenant_id, wanted)
    return Page(items=await read_many(session, rows), next_cursor=cursor)


async def read_report(session: AsyncSession, caller: Principal, job_id: str) -> JobReport:
    job = await JobRepository(session, caller.tenant_id).with_report(job_id)
    if job.report is None or job.state != JobState.SUCCEEDED:
        raise ReportNotReady
    return job.report


async def read(session: AsyncSession, job: JobRow) -> JobRead:
    return (await read_many(session, [job]))[0]


async def read_many(session: AsyncSession, jobs: Sequence[JobRow]) -> tuple[JobRead, ...]:
    """As the API shows them; the steps of all are read at once. All are of one tenant."""
    if not jobs:
        return ()
    steps = await StepRepository(session, TenantID(jobs[0].tenant_id)).glances([job.id for job in jobs])
    return tuple(_read(job, steps[job.id]) for job in jobs)


def _read(job: JobRow, steps: list[Glance]) -> JobRead:
    return JobRead(
        id=job.id,
        name=job.name,
        labels=job.labels,
        spec=job.spec,
        state=JobState(job.state),
        steps=tuple(_read_step(step) for step in steps),
        verdict=job.verdict,
        failure=job.failure,
        finishing=any(step.wrapping_up for step in steps),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _read_step(step: Glance) -> StepRead:
    return StepRead(
        id=step.id,
        kind=StepKind(step.kind),
        target=None if step.target is None else Target(step.target),
        state=StepState(step.state),
        attempt=step.attempt,
        progress=step.progress,
        message=step.message,
        failure=step.failure,
        queued_at=step.queued_at,
        started_at=step.started_at,
        finished_at=step.finished_at,
    )
