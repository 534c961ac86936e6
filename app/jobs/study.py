"""The study of a job that tunes: its trials are steps, up to so many at once; then the recipe of the best is run.

The next trial is queued only once the values of the one before are known, so each chooses with all others in view. All
of this happens while the job is held.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.tenancy import TenantID
from app.fleet import service as fleet_service
from app.fleet.repository import StepRepository
from app.fleet.service import Fleet, NothingFound, SearchOver, WrongResult
from app.fleet.tables import StepInput, StepRow
from app.jobs.events import tell_step
from app.jobs.finishing import finish
from app.jobs.presets import preset_of
from app.jobs.tables import JobRow, TrialRow
from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.jobs import EventKind, JobState, StepState
from whetstone.contract.presets import Preset
from whetstone.contract.search import Ended
from whetstone.contract.steps import Optimize, TryValues, ValuesTried
from whetstone.contract.tuning import Sampler, Study, TrialRead, TrialState, Tune, Values, applied, is_within, planned

WAIT_FOR_ONE = "Cancel the job, or wait until one has been."


async def queue_trial(
    session: AsyncSession,
    fleet: Fleet,
    job: JobRow,
    tune: Tune,
    number: int,
    inputs: tuple[StepInput, ...],
    preset: Preset,
) -> None:
    task = TryValues(
        tune=tune,
        number=number,
        target=job.spec.targets[0],
        budget=job.spec.budget,
        measurement=job.spec.measurement,
        input_shapes=job.spec.input_shapes,
        preset=preset,
    )
    tenant_id, seconds = TenantID(job.tenant_id), job.spec.budget.max_minutes * 60
    step = await fleet_service.queue_step(session, fleet, tenant_id, job.id, task, inputs, seconds)
    session.add(TrialRow(job_id=job.id, number=number, tenant_id=tenant_id, step_id=step.id, state=TrialState.QUEUED))
    await tell_step(session, job, EventKind.STEP_QUEUED, step)


async def brief(session: AsyncSession, step: StepRow) -> TryValues:
    """The step's task with the study as it is now, which is too much to be kept with every step."""
    task: TryValues = step.task
    rows = await _trials(session, step.tenant_id, step.subject_id)
    own = next(row for row in rows if row.number == task.number)
    others = tuple(_read(row) for row in rows if row.number != task.number)
    return task.model_copy(update={"trials": others, "parameters": own.parameters})


async def note_chosen(session: AsyncSession, fleet: Fleet, job: JobRow, step: StepRow, values: Values) -> None:
    """The trial of this step will run with these values. Raises WrongResult."""
    row = await _trial(session, step)
    _check(step, row, values)
    if row.parameters is None:
        row.parameters, row.state = values, TrialState.RUNNING
        await go_on(session, fleet, job, step.inputs)


async def note_cancelled(session: AsyncSession, step: StepRow) -> None:
    """A step that was cancelled before any worker had it tells nobody of its end."""
    if isinstance(step.task, TryValues) and step.state == StepState.CANCELLED:
        row = await _trial(session, step)
        row.state, row.ended_at = TrialState.STOPPED, row.ended_at or datetime.now(UTC)


def _check(step: StepRow, row: TrialRow, values: Values) -> None:
    if not is_within(step.task.tune, values) or row.parameters not in (None, values):
        raise WrongResult("These are no values for the parameters, or not those that were chosen before.")


async def record(session: AsyncSession, job: JobRow, step: StepRow) -> None:
    """What became of the trial of a step that has ended. Raises WrongResult."""
    row = await _trial(session, step)
    row.ended_at = datetime.now(UTC)
    if isinstance(step.result, ValuesTried):
        _note_result(step, row, step.result)
    elif step.state == StepState.CANCELLED:
        row.state = TrialState.STOPPED
    else:
        row.state, row.failure = TrialState.FAILED, step.failure
    await session.flush()
    await tell_step(session, job, EventKind.STEP_LOG, step, message=_sentence(step.task.tune, _read(row)))


def _note_result(step: StepRow, row: TrialRow, result: ValuesTried) -> None:
    _check(step, row, result.parameters)
    if result.values is not None and len(result.values) != len(step.task.tune.objectives):
        raise WrongResult("The trial has not as many values as there are objectives.")
    row.state = TrialState.PRUNED if result.values is None else TrialState.COMPLETE
    row.parameters, row.values = result.parameters, result.values
    row.reported, row.over = result.reported, result.over


def _sentence(tune: Tune, trial: TrialRead) -> str:
    told = ", ".join(f"{address} {_short(value)}" for address, value in (trial.parameters or {}).items())
    seen = ", ".join(f"{of} {value:.4g}" for of, value in zip(tune.objectives, trial.values or (), strict=False))
    why = f": {trial.failure.message}" if trial.failure else ""
    return f"trial {trial.number} {trial.state}{why} ({told}){' → ' if seen else ''}{seen}"[:2000]


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


async def go_on(session: AsyncSession, fleet: Fleet, job: JobRow, inputs: tuple[StepInput, ...]) -> None:
    """Queue the next trial if there is room for one; after the last, the recipe of the best."""
    if job.state == JobState.CANCELLING:
        return
    await session.flush()
    rows = await _trials(session, job.tenant_id, job.id)
    tune: Tune = job.spec.plan  # type: ignore[assignment] # only jobs that tune come here
    if any(row.state == TrialState.QUEUED for row in rows):
        return
    running = sum(row.state == TrialState.RUNNING for row in rows)
    if await _ended_by(session, job, tune, rows) is None:
        if running < tune.parallel:
            preset = preset_of(job.spec, job.model, job.dataset)
            await queue_trial(session, fleet, job, tune, len(rows), inputs, preset)
    elif running == 0:
        await _conclude(session, fleet, job, tune, [_read(row) for row in rows], inputs)


async def _ended_by(session: AsyncSession, job: JobRow, tune: Tune, rows: Sequence[TrialRow]) -> Ended | None:
    """Why no trial begins any more; None while one may."""
    if await StepRepository(session, TenantID(job.tenant_id)).any_wrapping_up(job.id):
        return Ended.REQUESTED
    if len(rows) >= planned(tune):
        return Ended.EXHAUSTED if tune.sampler is Sampler.GRID else Ended.TRIALS
    if job.started_at is not None and datetime.now(UTC) > job.started_at + timedelta(minutes=tune.minutes):
        return Ended.MINUTES
    return None


async def _conclude(
    session: AsyncSession,
    fleet: Fleet,
    job: JobRow,
    tune: Tune,
    trials: list[TrialRead],
    inputs: tuple[StepInput, ...],
) -> None:
    best = chosen(tune, trials)
    if best is None or best.parameters is None:
        await finish(session, job, JobState.FAILED, _none_completed(trials))
        return
    task = Optimize(passes=applied(tune.passes, best.parameters), batch_size=job.spec.measurement.batch_size)
    seconds = job.spec.budget.max_minutes * 60
    step = await fleet_service.queue_step(session, fleet, TenantID(job.tenant_id), job.id, task, inputs, seconds)
    await tell_step(session, job, EventKind.STEP_QUEUED, step)


def _none_completed(trials: Sequence[TrialRead]) -> Failure:
    told = f"None of {len(trials)} trials was completed."
    failure = next((trial.failure for trial in reversed(trials) if trial.failure), None)
    if failure is None:
        return Failure(code=FailureCode.NOTHING_TO_DO, message=told, hint="Give it more minutes.")
    return failure.model_copy(update={"message": f"{told} The last failure: {failure.message}"})


async def wrap_up(session: AsyncSession, fleet: Fleet, job: JobRow) -> StepRow | None:
    """Stop the trials that have not ended and take the best so far. Returns the step of one, None when it was asked for
    before. Raises SearchOver, NothingFound.
    """
    rows = await _trials(session, job.tenant_id, job.id)
    open_ = {row.step_id: row for row in rows if not TrialState(row.state).is_final}
    if not open_:
        raise SearchOver
    if not any(row.state == TrialState.COMPLETE for row in rows):
        raise NothingFound("No trial has been completed, so there is no best so far.", hint=WAIT_FOR_ONE)
    steps = [
        step for step in await StepRepository(session, TenantID(job.tenant_id)).of_subject(job.id) if step.id in open_
    ]
    asked_before = all(fleet_service.is_wrapping_up(step) for step in steps)
    for step in steps:
        await fleet_service.wrap_up(session, step)
        await note_cancelled(session, step)
    await go_on(session, fleet, job, steps[0].inputs)
    return None if asked_before else steps[0]


async def read_trials(session: AsyncSession, job: JobRow) -> tuple[TrialRead, ...]:
    return tuple(_read(row) for row in await _trials(session, job.tenant_id, job.id))


async def read_study(session: AsyncSession, job: JobRow) -> Study | None:
    """The study of a job whose best recipe has been run; None where the plan is another."""
    tune = job.spec.plan
    if not isinstance(tune, Tune):
        return None
    rows = await _trials(session, job.tenant_id, job.id)
    trials = [_read(row) for row in rows]
    best = chosen(tune, trials)
    if best is None:
        return None
    ended = await _ended_by(session, job, tune, rows) or Ended.MINUTES
    return Study(tune=tune, trials=tuple(trials), front=front(tune, trials), chosen=best.number, ended=ended)


def chosen(tune: Tune, trials: Sequence[TrialRead]) -> TrialRead | None:
    """The best by the first objective of those completed within the budget, or nearest to it; of equals the earliest.
    None if no trial was completed.
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    return min(complete, key=lambda one: (one.over or 0.0, costs(tune, one), one.number), default=None)


def front(tune: Tune, trials: Sequence[TrialRead]) -> tuple[int, ...]:
    """The numbers of the completed trials that no other beats in all objectives (Pareto front)."""
    found = {trial.number: costs(tune, trial) for trial in trials if trial.state is TrialState.COMPLETE}
    return tuple(
        sorted(number for number, own in found.items() if not any(_beats(other, own) for other in found.values()))
    )


def costs(tune: Tune, trial: TrialRead) -> tuple[float, ...]:
    """The values, each so that less is better."""
    pairs = zip(tune.objectives, trial.values or (), strict=True)
    return tuple(-value if of.is_maximized else value for of, value in pairs)


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))


async def _trial(session: AsyncSession, step: StepRow) -> TrialRow:
    return await session.get_one(TrialRow, (step.subject_id, step.task.number))


async def _trials(session: AsyncSession, tenant_id: str, job_id: str) -> Sequence[TrialRow]:
    """Those that have ended in the order in which they did, then the others by number."""
    query = select(TrialRow).where(TrialRow.tenant_id == tenant_id, TrialRow.job_id == job_id)
    return (await session.scalars(query.order_by(TrialRow.ended_at.nulls_last(), TrialRow.number))).all()


def _read(row: TrialRow) -> TrialRead:
    return TrialRead(
        number=row.number,
        state=TrialState(row.state),
        parameters=row.parameters,
        values=row.values,
        reported=row.reported or (),
        over=row.over,
        failure=row.failure,
    )
