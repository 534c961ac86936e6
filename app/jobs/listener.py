"""What follows when a step of a job starts, tells, and ends: plan → deliver per target → report → done."""

from datetime import UTC, datetime
from typing import cast

from sqlalchemy.ext.asyncio import AsyncSession

from app.artifacts import service as artifacts
from app.core.tenancy import TenantID
from app.fleet import service as fleet_service
from app.fleet.repository import StepRepository
from app.fleet.service import Fleet
from app.fleet.tables import StepInput, StepRow
from app.jobs import study
from app.jobs.assembly import assemble, recipe_of, winner_of
from app.jobs.attestation import statement
from app.jobs.events import tell, tell_step
from app.jobs.finishing import finish, finish_if_cancelled
from app.jobs.presets import preset_of
from app.jobs.repository import hold_any_tenant
from app.jobs.service import original_inputs
from app.jobs.tables import JobRow
from app.provenance import service as provenance
from whetstone.contract.jobs import ArtifactKind, EventKind, JobState, StepKind, StepState
from whetstone.contract.provenance import Envelope
from whetstone.contract.reports import JobReport
from whetstone.contract.steps import (
    Contender,
    Deliver,
    Delivered,
    Heartbeat,
    InputRole,
    MakeReport,
    Optimized,
    OutputFile,
    ReportMade,
    Searched,
    Task,
    TryValues,
)
from whetstone.contract.targets import Target


class JobListener:
    """Hears of the steps of jobs. `fleet` is set once the fleet exists, since each needs the other."""

    fleet: Fleet

    async def hold(self, session: AsyncSession, step: StepRow) -> None:
        await hold_any_tenant(session, step.subject_id)

    async def started(self, session: AsyncSession, step: StepRow) -> None:
        job = await hold_any_tenant(session, step.subject_id)
        if job.state == JobState.QUEUED:
            job.state, job.started_at = JobState.RUNNING, datetime.now(UTC)
            await tell(session, job, EventKind.JOB_STARTED, job_state=JobState.RUNNING)
        await tell_step(session, job, EventKind.STEP_STARTED, step)

    async def brief(self, session: AsyncSession, step: StepRow) -> Task:
        return await study.brief(session, step) if isinstance(step.task, TryValues) else cast("Task", step.task)

    async def told(self, session: AsyncSession, step: StepRow, beat: Heartbeat) -> None:
        job = await hold_any_tenant(session, step.subject_id)
        for line in beat.logs:
            await tell_step(session, job, EventKind.STEP_LOG, step, message=line)
        if beat.progress is not None:
            about = {"progress": beat.progress, "message": beat.message, "metrics": beat.metrics}
            await tell_step(session, job, EventKind.STEP_PROGRESS, step, **about)
        if beat.chosen is not None and isinstance(step.task, TryValues):
            await study.note_chosen(session, self.fleet, job, step, beat.chosen)

    async def retried(self, session: AsyncSession, step: StepRow) -> None:
        await tell_step(
            session, await hold_any_tenant(session, step.subject_id), EventKind.STEP_RETRIED, step, failure=step.failure
        )

    async def ended(self, session: AsyncSession, step: StepRow, outputs: tuple[OutputFile, ...]) -> None:
        job = await hold_any_tenant(session, step.subject_id)
        await tell_step(session, job, EventKind.STEP_FINISHED, step, failure=step.failure)
        target = None if step.target is None else Target(step.target)
        for output in outputs:
            await artifacts.add(session, TenantID(job.tenant_id), job.id, step.id, target, output)
        if step.state == StepState.SUCCEEDED:
            await self._attest(session, job, step, outputs)
        if isinstance(step.task, TryValues):
            await study.record(session, job, step)
        if not await finish_if_cancelled(session, job):
            await self._go_on(session, job, step)

    async def _attest(self, session: AsyncSession, job: JobRow, step: StepRow, outputs: tuple[OutputFile, ...]) -> None:
        """Sign what is handed to the tenant: the files of each target, and the report with the bundles."""
        kept = tuple(output for output in outputs if output.kind is not ArtifactKind.KIT)
        match step.result:
            case Delivered(report=claim):
                recipe = recipe_of(await self._found(session, job), claim)
                stated = statement(job, step, kept, recipe, (claim,))
            case ReportMade() if kept:
                report: JobReport = step.task.report
                recipe = tuple(done.config for done in report.passes)
                stated = statement(job, step, kept, recipe, (*report.targets, *report.built))
            case _:
                return
        await provenance.sign(session, self.fleet.signing_key, TenantID(job.tenant_id), stated)

    async def _found(self, session: AsyncSession, job: JobRow) -> Optimized | Searched:
        steps = await StepRepository(session, TenantID(job.tenant_id)).of_subject(job.id)
        return next(step.result for step in steps if isinstance(step.result, Optimized | Searched))

    async def _go_on(self, session: AsyncSession, job: JobRow, step: StepRow) -> None:
        match StepKind(step.kind):
            case StepKind.TRIAL:
                await study.go_on(session, self.fleet, job, step.inputs)
            case StepKind.OPTIMIZE | StepKind.SEARCH if step.state == StepState.SUCCEEDED:
                await self._deliver(session, job, step)
            case StepKind.DELIVER:
                await self._report(session, job)
            case StepKind.REPORT:
                await finish(session, job, JobState.SUCCEEDED)  # the measurements stand, even if the page failed
            case _:
                await finish(session, job, JobState.FAILED, step.failure)

    async def _deliver(self, session: AsyncSession, job: JobRow, step: StepRow) -> None:
        made = await artifacts.ArtifactRepository(session, TenantID(job.tenant_id)).of_job(job.id)
        results = {row.name: row for row in made if row.step_id == step.id and row.kind == ArtifactKind.MODEL}
        for target in job.spec.targets:
            first, second = _contenders(target, step, next(iter(results)))
            roles = ((InputRole.RESULT, first), (InputRole.RUNNER_UP, second))
            files = [(role, results[each.file]) for role, each in roles if each is not None]
            given = (StepInput(role=role, file_id=file.file_id, filename=file.name) for role, file in files)
            inputs = (*original_inputs(job.model, job.dataset), *given)
            task = Deliver(
                target=target,
                settings=first.settings,
                runner_up=second.settings if second else None,
                budget=job.spec.budget,
                measurement=job.spec.measurement,
                input_shapes=job.spec.input_shapes,
                preset=preset_of(job.spec, job.model, job.dataset),
            )
            await self._queue(session, job, task, inputs, job.spec.budget.max_minutes * 60)

    async def _queue(
        self,
        session: AsyncSession,
        job: JobRow,
        task: Deliver | MakeReport,
        inputs: tuple[StepInput, ...],
        seconds: float,
    ) -> None:
        tenant_id = TenantID(job.tenant_id)
        step = await fleet_service.queue_step(session, self.fleet, tenant_id, job.id, task, inputs, seconds)
        await tell_step(session, job, EventKind.STEP_QUEUED, step)

    async def _report(self, session: AsyncSession, job: JobRow) -> None:
        """Once every target has ended: a report of those that were delivered, or failure if none was."""
        steps = await StepRepository(session, TenantID(job.tenant_id)).of_subject(job.id)
        delivers = [step for step in steps if step.kind == StepKind.DELIVER]
        if not all(StepState(step.state).is_final for step in delivers):
            return
        found = next(step.result for step in steps if isinstance(step.result, Optimized | Searched))
        if not any(step.state == StepState.SUCCEEDED for step in delivers):
            await finish(session, job, JobState.FAILED, delivers[0].failure)
            return
        preset = preset_of(job.spec, job.model, job.dataset)
        job.report = assemble(job, found, delivers, await study.read_study(session, job), preset)
        job.verdict = job.report.verdict
        task = MakeReport(report=job.report, manifests=await self._manifests(session, job, delivers))
        kits = tuple(
            StepInput(role=InputRole.KIT, file_id=row.file_id, filename=row.name)
            for row in await artifacts.kits(session, TenantID(job.tenant_id), job.id)
        )
        await self._queue(session, job, task, kits, self.fleet.settings.limits.report_seconds)

    async def _manifests(self, session: AsyncSession, job: JobRow, delivers: list[StepRow]) -> dict[Target, Envelope]:
        signed = await provenance.of_job(session, TenantID(job.tenant_id), job.id)
        return {step.task.target: signed[step.id] for step in delivers if step.id in signed}


def _contenders(target: Target, step: StepRow, only: str) -> tuple[Contender, Contender | None]:
    """The file that goes to a target, and a runner-up: a search has both, a recipe one file for all."""
    if not isinstance(step.result, Searched):
        return Contender(file=only, passes=()), None
    winner = winner_of(step.result, target)
    return winner, winner.runner_up
