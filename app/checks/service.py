"""Checks: ordered, measured where a model is the candidate, judged."""

from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.checks.judgement import judge_measured, judge_reports, outcome_of, unknown
from app.checks.tables import CheckRow
from app.core.bell import Bell, ring
from app.core.errors import AppError
from app.core.ids import Prefix, new_id
from app.core.tenancy import Principal, TenantID, TenantRepository
from app.datasets.service import DatasetRepository
from app.fleet import service as fleet_service
from app.fleet.repository import StepRepository
from app.fleet.service import Fleet
from app.fleet.tables import StepInput, StepRow
from app.jobs.checks import check_ready
from app.jobs.products import graph_of
from app.jobs.repository import JobRepository
from app.jobs.service import ReportNotReady, dataset_input, model_input
from app.jobs.tables import JobRow
from app.models.service import ModelRepository
from app.models.tables import ModelRow
from app.usage import quotas
from whetstone.contract.checks import Beside, CheckRead, CheckSpec, CheckState, Finding, Outcome
from whetstone.contract.jobs import JobState, StepState
from whetstone.contract.models import ModelFacts, TensorFacts
from whetstone.contract.reports import JobReport, VerdictKind
from whetstone.contract.steps import Compare, Compared, InputRole
from whetstone.contract.targets import AS_USUAL, HardwareClass, Target, hardware_of

LOOK_AGAIN_SECONDS = 2.0


class CheckNotFound(AppError):
    """There is no such check."""

    code, status = "check_not_found", 404


class CheckFinished(AppError):
    """The check has finished and can no longer be cancelled."""

    code, status = "check_finished", 409


class NothingToCheck(AppError):
    """The baseline was measured on none of these targets."""

    code, status = "nothing_to_check", 422
    hint = "Name targets that are in the report of the baseline job under `targets`."


class InterfaceDiffers(AppError):
    """The candidate has other inputs or outputs than the baseline."""

    code, status = "interface_differs", 422
    hint = "Only models that take and give the same, by name, type and shape, can be measured on the same samples."


class CheckRepository(TenantRepository[CheckRow]):
    row, missing = CheckRow, CheckNotFound


async def create(session: AsyncSession, fleet: Fleet, caller: Principal, spec: CheckSpec) -> CheckRow:
    """Judge two reports at once, or order the measurement. Raises JobNotFound, ModelNotFound, ReportNotReady,
    NothingToCheck, InterfaceDiffers, NotReady, Rejected, QuotaExceeded.
    """
    baseline, report = await _reported(session, caller, spec.against)
    targets = _targets(spec, report)
    row = CheckRow(
        id=new_id(Prefix.CHECK),
        tenant_id=caller.tenant_id,
        spec=spec,
        state=CheckState.QUEUED,
        findings=(),
        measured=(),
    )
    session.add(row)
    if spec.job_id is not None:
        _, candidate = await _reported(session, caller, spec.job_id)
        judged = [judge_reports(target, report, candidate, spec) for target in targets]
        _finish(row, tuple(finding for findings in judged for finding in findings))
    else:
        assert spec.model_id is not None  # noqa: S101 - the contract says so
        model = await ModelRepository(session, caller.tenant_id).get(spec.model_id)
        await _order(session, fleet, row, baseline, report, targets, model)
    await session.flush()  # the answer shows created_at
    await session.refresh(row)
    return row


async def _reported(session: AsyncSession, caller: Principal, job_id: str) -> tuple[JobRow, JobReport]:
    job = await JobRepository(session, caller.tenant_id).with_report(job_id)
    if job.report is None or job.state != JobState.SUCCEEDED:
        raise ReportNotReady(f"The job {job_id} has no report: it has not finished, or did not succeed.")
    return job, job.report


def _targets(spec: CheckSpec, report: JobReport) -> tuple[Target, ...]:
    measured = tuple(each.target for each in report.targets)
    if spec.targets is None and measured:
        return measured
    if spec.targets is None or not set(spec.targets) <= set(measured):
        raise NothingToCheck
    return spec.targets


async def _order(
    session: AsyncSession,
    fleet: Fleet,
    row: CheckRow,
    baseline: JobRow,
    report: JobReport,
    targets: tuple[Target, ...],
    model: ModelRow,
) -> None:
    """One step a target."""
    tenant_id = TenantID(row.tenant_id)
    check_ready(model, "model")
    original = await ModelRepository(session, tenant_id).get(baseline.model_id)
    if model.facts and original.facts:
        check_alike(model.facts, original.facts)
    hardware = {HardwareClass.CPU, *map(hardware_of, targets)}
    await quotas.check_order(session, fleet.settings, tenant_id, hardware)
    await session.flush()  # steps are found by its id
    for target in targets:
        inputs = await _inputs(session, row, baseline, report, target, original)
        seconds = baseline.spec.budget.max_minutes * 60
        given = (*inputs, model_input(InputRole.RESULT, model))
        await fleet_service.queue_step(
            session, fleet, tenant_id, row.id, _task(row.spec, baseline, report, target), given, seconds
        )


def check_alike(candidate: ModelFacts, baseline: ModelFacts) -> None:
    """Raises InterfaceDiffers unless both take and give the same; a free axis goes with any size."""
    for mine, theirs in ((candidate.inputs, baseline.inputs), (candidate.outputs, baseline.outputs)):
        expected = {each.name: each for each in theirs}
        if {each.name for each in mine} != expected.keys():
            have, want = (", ".join(sorted(each.name for each in side)) for side in (mine, theirs))
            raise InterfaceDiffers(f"The candidate has {have} where the baseline has {want}.")
        for each in mine:
            if not _is_alike(each, expected[each.name]):
                told = f"{each.dtype} {list(each.shape)}, in the baseline {list(expected[each.name].shape)}"
                raise InterfaceDiffers(f"'{each.name}' of the candidate is {told}.")


def _is_alike(one: TensorFacts, other: TensorFacts) -> bool:
    if one.dtype != other.dtype or len(one.shape) != len(other.shape):
        return False
    pairs = zip(one.shape, other.shape, strict=True)
    return all(a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in pairs)


def _task(spec: CheckSpec, baseline: JobRow, report: JobReport, target: Target) -> Compare:
    """Under the conditions of the baseline's own measurement; without its scenarios, which nobody judges."""
    measured = next(each for each in report.targets if each.target is target)
    returned = measured.verdict.kind is VerdictKind.NO_GAIN or spec.beside is Beside.ORIGINAL
    return Compare(
        target=target,
        settings=AS_USUAL if returned else measured.settings,
        measurement=baseline.spec.measurement.model_copy(update={"scenarios": ()}),
        input_shapes=baseline.spec.input_shapes,
        preset=report.preset,
    )


async def _inputs(
    session: AsyncSession, row: CheckRow, baseline: JobRow, report: JobReport, target: Target, original: ModelRow
) -> tuple[StepInput, ...]:
    given = [model_input(InputRole.MODEL, original)]
    if row.spec.beside is Beside.RESULT:
        graph = await graph_of(session, baseline, report, target)
        given = given if graph is None else [graph]
    if baseline.dataset_id is not None:
        dataset = await DatasetRepository(session, TenantID(row.tenant_id)).get(baseline.dataset_id)
        given.append(dataset_input(InputRole.DATASET, dataset))
    return tuple(given)


def _finish(row: CheckRow, findings: tuple[Finding, ...]) -> None:
    row.findings, row.outcome = findings, outcome_of(findings)
    row.state, row.finished_at = CheckState.FINISHED, datetime.now(UTC)


async def conclude(session: AsyncSession, row: CheckRow) -> None:
    """Judge once every target has ended; a target that could not be measured proves nothing. The row must be held."""
    steps = await StepRepository(session, TenantID(row.tenant_id)).of_subject(row.id)
    if CheckState(row.state).is_final or not all(StepState(step.state).is_final for step in steps):
        return
    row.measured = tuple(step.result.seen for step in steps if isinstance(step.result, Compared))
    judged = [_judge_step(step, row.spec) for step in steps]
    _finish(row, tuple(finding for findings in judged for finding in findings))
    await ring(session, row.id)


def _judge_step(step: StepRow, spec: CheckSpec) -> tuple[Finding, ...]:
    if isinstance(step.result, Compared):
        return judge_measured(step.result.seen, spec)
    why = f"{step.failure.code}: {step.failure.message}" if step.failure else "it was not measured"
    return unknown(step.task.target, spec, why)


async def cancel(session: AsyncSession, caller: Principal, check_id: str) -> CheckRow:
    """What waits is cancelled at once, what runs is asked to stop. Raises CheckFinished."""
    row = await CheckRepository(session, caller.tenant_id).get(check_id, for_update=True)
    if row.state == CheckState.FINISHED:
        raise CheckFinished
    if row.state != CheckState.CANCELLED:
        row.state, row.finished_at = CheckState.CANCELLED, datetime.now(UTC)
        for step in await StepRepository(session, caller.tenant_id).of_subject(row.id):
            await fleet_service.request_cancel(session, step)
        await ring(session, row.id)
    return row


async def wait_finished(
    sessions: async_sessionmaker[AsyncSession], bell: Bell, tenant_id: TenantID, check_id: str, seconds: float
) -> CheckRow:
    """The check once it has ended, or as it is after `seconds`."""
    async with bell.listening(check_id) as ear:
        while True:
            async with sessions() as session:
                row = await CheckRepository(session, tenant_id).get(check_id)
            if CheckState(row.state).is_final or seconds <= 0:
                return row
            await ear.wait(min(seconds, LOOK_AGAIN_SECONDS))
            seconds -= LOOK_AGAIN_SECONDS


def read(row: CheckRow) -> CheckRead:
    return CheckRead(
        id=row.id,
        spec=row.spec,
        state=CheckState(row.state),
        outcome=None if row.outcome is None else Outcome(row.outcome),
        findings=row.findings,
        measured=row.measured,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
