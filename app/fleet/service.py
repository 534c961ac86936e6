"""The life of a step: queued, claimed under a lease by one attempt, told of, ended once.

Postgres is the truth. A claim is a compare-and-set on state and attempt, so a message that arrives twice claims
nothing; every later call carries the attempt's token, so a worker that lost its lease can change nothing.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.artifacts import files
from app.artifacts import service as artifacts
from app.core import outbox
from app.core.errors import AppError
from app.core.ids import Prefix, new_id
from app.core.scope import enter_tenant
from app.core.signing import Signer, Use
from app.core.storage import Storage
from app.core.tenancy import TenantID
from app.fleet import repository
from app.fleet.listeners import Listeners
from app.fleet.tables import StepInput, StepRow
from app.provenance.keys import SigningKey
from app.settings import Settings
from app.usage import metering, quotas
from app.usage.metering import Work
from app.usage.repository import hold_tenant
from whetstone.contract.failures import INFRASTRUCTURE, Failure, FailureCode
from whetstone.contract.jobs import StepKind, StepState
from whetstone.contract.search import Ended
from whetstone.contract.steps import (
    RUN_STEP,
    Fail,
    Finish,
    Heartbeat,
    HeartbeatAnswer,
    InputFile,
    InputRole,
    Limits,
    OnTarget,
    Order,
    OutputFile,
    SearchRecipe,
    Task,
    TryValues,
)
from whetstone.contract.targets import HardwareClass, hardware_of, queue_of, toolkit_of
from whetstone.contract.toolkits import Toolkit

NOT_PAID = INFRASTRUCTURE | {FailureCode.INTERNAL_ERROR}
TOKEN_SECONDS = 30 * 24 * 3600
NOBODY_HAS_IT = "No worker that is running has it."
log = structlog.get_logger()


class NothingToClaim(AppError):
    """The step is already being worked on, or has ended."""

    code, status = "nothing_to_claim", 409


class PlanIsBusy(NothingToClaim):
    """The tenant's plan lets no more steps run at once; this one waits for its turn."""

    code = "plan_is_busy"


class StepLost(AppError):
    """This attempt no longer owns the step: its lease ran out, or the step has ended."""

    code, status = "step_lost", 409
    hint = "Stop working on it and discard the results."


class WrongResult(AppError):
    """The result is not of the kind that this step makes."""

    code, status = "wrong_result", 422


class SearchOver(AppError):
    """The job's search has ended, or it never had one."""

    code, status = "search_over", 409
    hint = "Results that are being proven come by themselves; to stop the job altogether, cancel it."


class NothingFound(AppError):
    """The search has not begun, so there is no best so far."""

    code, status = "nothing_found", 409
    hint = "Cancel the job, or wait until the search has begun."


@dataclass(frozen=True)
class Fleet:
    """What the functions below need besides the session."""

    settings: Settings
    signer: Signer
    storage: Storage
    signing_key: SigningKey
    listeners: Listeners


async def queue_step(
    session: AsyncSession,
    fleet: Fleet,
    tenant_id: TenantID,
    subject_id: str,
    task: Task,
    inputs: tuple[StepInput, ...],
    seconds: float,
) -> StepRow:
    """Write the step and the message that will wake a worker for it, in the caller's transaction."""
    target = task.target if isinstance(task, OnTarget) else None
    limits = fleet.settings.limits
    step = StepRow(
        id=new_id(Prefix.STEP),
        tenant_id=tenant_id,
        subject_id=subject_id,
        kind=task.kind,
        target=target,
        hardware=HardwareClass.CPU if target is None else hardware_of(target),
        toolkit=None if target is None else toolkit_of(target),
        task=task,
        inputs=inputs,
        limits=Limits(seconds=seconds, memory=limits.step_memory, file_size=limits.step_file_size),
        state=StepState.QUEUED,
        max_attempts=fleet.settings.lease.max_attempts,
        sent_at=datetime.now(UTC) + timedelta(seconds=fleet.settings.lease.resend_after),
    )
    session.add(step)
    await session.flush()  # the listener's events refer to it
    await _send(session, fleet, step)
    return step


async def _send(session: AsyncSession, fleet: Fleet, step: StepRow) -> None:
    token = fleet.signer.sign(Use.STEP, TOKEN_SECONDS, step_id=step.id, tenant_id=step.tenant_id)
    queue = queue_of(HardwareClass(step.hardware), _toolkit(step))
    await outbox.put(session, step.tenant_id, RUN_STEP, queue, [step.id, token])


def _toolkit(step: StepRow) -> Toolkit | None:
    return None if step.toolkit is None else Toolkit(step.toolkit)


async def request_cancel(session: AsyncSession, step: StepRow) -> None:
    """Cancel a queued step at once; ask the worker of a running one to stop. The subject must be held."""
    await repository.lock(session, step)
    match StepState(step.state):
        case StepState.QUEUED:
            _end(step, StepState.CANCELLED)
        case StepState.RUNNING:
            step.cancel_requested = True
        case StepState.SUCCEEDED | StepState.FAILED | StepState.CANCELLED:
            pass


async def claim(session: AsyncSession, fleet: Fleet, token: str, worker_id: str) -> Order:
    """Give the step to this worker. Raises NothingToClaim, PlanIsBusy, InvalidToken."""
    step = await _held(session, fleet, read_token(fleet, Use.STEP, token)["step_id"])
    if step.state != StepState.QUEUED or step.cancel_requested:
        raise NothingToClaim
    await _check_turn(session, fleet, TenantID(step.tenant_id))
    step.state = StepState.RUNNING
    step.attempt += 1
    step.worker_id = worker_id
    step.started_at = datetime.now(UTC)
    step.progress = 0.0
    prolong(fleet, step)
    await fleet.listeners[StepKind(step.kind)].started(session, step)
    return await _order(session, fleet, step)


async def _check_turn(session: AsyncSession, fleet: Fleet, tenant_id: TenantID) -> None:
    """Raises PlanIsBusy."""
    limit = (await quotas.quotas_of(session, fleet.settings, tenant_id)).steps_at_once
    if limit is None:
        return
    await hold_tenant(session, tenant_id)  # or two claims at once would both see the last place free
    if await repository.running(session, tenant_id) >= limit:
        raise PlanIsBusy


async def _call_next(session: AsyncSession, fleet: Fleet, tenant_id: TenantID) -> None:
    """A place has become free: wake workers for steps that may have been refused one."""
    if (await quotas.quotas_of(session, fleet.settings, tenant_id)).steps_at_once is not None:
        for step in await repository.next_in_line(session, tenant_id):
            await _send(session, fleet, step)


def read_token(fleet: Fleet, use: Use, token: str) -> dict[str, Any]:
    """The claims; from here on the request sees the rows of the token's tenant. Raises InvalidToken."""
    claims = fleet.signer.read(use, token)
    enter_tenant(claims["tenant_id"])
    return claims


async def _held(session: AsyncSession, fleet: Fleet, step_id: str) -> StepRow:
    """The step, locked after what it is for."""
    step = await repository.find_any_tenant(session, step_id)
    if step is None:
        raise StepLost
    await fleet.listeners[StepKind(step.kind)].hold(session, step)
    await repository.lock(session, step)
    return step


def prolong(fleet: Fleet, step: StepRow) -> None:
    """Begin the lease anew."""
    step.lease_until = datetime.now(UTC) + timedelta(seconds=fleet.settings.lease.seconds)


async def _order(session: AsyncSession, fleet: Fleet, step: StepRow) -> Order:
    rows = await files.get_many(session, TenantID(step.tenant_id), [given.file_id for given in step.inputs])
    return Order(
        step_id=step.id,
        attempt=step.attempt,
        token=fleet.signer.sign(
            Use.ATTEMPT, TOKEN_SECONDS, step_id=step.id, tenant_id=step.tenant_id, attempt=step.attempt
        ),
        lease_seconds=fleet.settings.lease.seconds,
        task=await fleet.listeners[StepKind(step.kind)].brief(session, step),
        inputs=tuple(
            InputFile(
                role=given.role,
                filename=given.filename,
                size=rows[given.file_id].size,
                sha256=rows[given.file_id].sha256,
                proven=rows[given.file_id].proven,
                url=fleet.storage.download_url(rows[given.file_id].key, given.filename),
                preprocessing=given.preprocessing,
            )
            for given in step.inputs
        ),
        limits=step.limits,
    )


async def owned(session: AsyncSession, fleet: Fleet, token: str) -> StepRow:
    """The step, if the token's attempt still owns it. Raises StepLost, InvalidToken."""
    claims = read_token(fleet, Use.ATTEMPT, token)
    step = await _held(session, fleet, claims["step_id"])
    if step.attempt != claims["attempt"] or step.state != StepState.RUNNING:
        raise StepLost
    return step


async def heartbeat(session: AsyncSession, fleet: Fleet, token: str, beat: Heartbeat) -> HeartbeatAnswer:
    """Prolong the lease and pass on the progress. Answers whether the worker should stop, or end a search with its
    best so far. Raises StepLost.
    """
    step = await owned(session, fleet, token)
    prolong(fleet, step)
    if beat.progress is not None:
        step.progress, step.message = beat.progress, beat.message
    await fleet.listeners[StepKind(step.kind)].told(session, step, beat)
    return HeartbeatAnswer(cancel=step.cancel_requested, wrap_up=is_wrapping_up(step))


async def wrap_up(session: AsyncSession, step: StepRow) -> None:
    """Ask the search to end with its best so far: its worker hears of it, or the next that claims it. A trial is
    stopped. The subject must be held. Raises NothingFound, SearchOver.
    """
    await repository.lock(session, step)
    if not isinstance(step.task, SearchRecipe | TryValues) or StepState(step.state).is_final:
        raise SearchOver
    if isinstance(step.task, SearchRecipe) and step.state == StepState.QUEUED and not step.task.tried:
        raise NothingFound
    step.task = step.task.model_copy(update={"stop": step.task.stop or Ended.REQUESTED})
    if isinstance(step.task, TryValues):
        await session.flush()  # or locking it again would forget this
        await request_cancel(session, step)


def is_wrapping_up(step: StepRow) -> bool:
    """Whether a search, or a trial's study, was asked to end with its best so far."""
    return isinstance(step.task, SearchRecipe | TryValues) and step.task.stop is not None


def without_interim(inputs: tuple[StepInput, ...]) -> tuple[StepInput, ...]:
    """Those that it was queued with, without what an attempt has left."""
    return tuple(given for given in inputs if given.role not in (InputRole.CHECKPOINT, InputRole.LEARNING_STATE))


async def finish(session: AsyncSession, fleet: Fleet, token: str, done: Finish) -> None:
    """End the step well, once; saying it again (after a lost answer) changes nothing. Raises StepLost."""
    claims = read_token(fleet, Use.ATTEMPT, token)
    step = await _held(session, fleet, claims["step_id"])
    if step.attempt == claims["attempt"] and step.state == StepState.SUCCEEDED:
        return
    if step.attempt != claims["attempt"] or step.state != StepState.RUNNING:
        raise StepLost
    if done.result.kind != step.kind:
        raise WrongResult
    step.result = done.result
    step.progress = 1.0
    await _meter(session, fleet, step)
    await _ended(session, fleet, step, StepState.SUCCEEDED, done.outputs)


async def fail(session: AsyncSession, fleet: Fleet, token: str, failed: Fail) -> None:
    """End the step badly, or queue it again where the fault was the house's and attempts are left."""
    step = await owned(session, fleet, token)
    if failed.cancelled:
        await _meter(session, fleet, step)
        await _ended(session, fleet, step, StepState.CANCELLED)
    else:
        await _fail_or_retry(session, fleet, step, failed.failure, failed.outputs)


async def _fail_or_retry(
    session: AsyncSession, fleet: Fleet, step: StepRow, failure: Failure, outputs: tuple[OutputFile, ...] = ()
) -> None:
    step.failure = failure.model_copy(update={"step": step.id})
    missing = failure.toolkit if step.toolkit is None else None
    if failure.code not in NOT_PAID and missing is None:
        await _meter(session, fleet, step)
    if step.cancel_requested:
        await _ended(session, fleet, step, StepState.CANCELLED)
    elif missing is not None:
        await _move(session, fleet, step, failure, missing)
    elif failure.code in INFRASTRUCTURE and step.attempt < step.max_attempts:
        step.state, step.lease_until = StepState.QUEUED, None
        await _send_again(session, fleet, step)
        await fleet.listeners[StepKind(step.kind)].retried(session, step)
    else:
        await _ended(session, fleet, step, StepState.FAILED, outputs)


async def _move(session: AsyncSession, fleet: Fleet, step: StepRow, failure: Failure, toolkit: Toolkit) -> None:
    """To the workers that have the toolkit which the step turned out to need; ends it where there are none."""
    if not await repository.is_offered(session, HardwareClass(step.hardware), toolkit):
        step.failure = failure.model_copy(update={"step": step.id, "message": f"{failure.message} {NOBODY_HAS_IT}"})
        await _ended(session, fleet, step, StepState.FAILED)
        return
    step.toolkit, step.state, step.lease_until = toolkit, StepState.QUEUED, None
    step.max_attempts += 1  # nothing was tried yet
    await _send_again(session, fleet, step)
    await fleet.listeners[StepKind(step.kind)].retried(session, step)


async def _meter(session: AsyncSession, fleet: Fleet, step: StepRow) -> None:
    """What the house failed is not paid for: neither a lost attempt, nor a step that ends with one."""
    assert step.started_at is not None  # noqa: S101 - an attempt owned it
    work = Work(
        step_id=step.id,
        subject_id=step.subject_id,
        kind=StepKind(step.kind),
        hardware=HardwareClass(step.hardware),
        claimed_at=step.started_at,
        ended_at=datetime.now(UTC),
    )
    await metering.record(session, fleet.settings, TenantID(step.tenant_id), work)


async def _ended(
    session: AsyncSession, fleet: Fleet, step: StepRow, state: StepState, outputs: tuple[OutputFile, ...] = ()
) -> None:
    _end(step, state)
    step.inputs = without_interim(step.inputs)
    await fleet.listeners[StepKind(step.kind)].ended(session, step, outputs)
    # Only now: an output may have the very content of the last checkpoint, and must be recorded before that goes.
    await artifacts.drop_interim(session, TenantID(step.tenant_id), step.id)
    await _call_next(session, fleet, TenantID(step.tenant_id))


def _end(step: StepRow, state: StepState) -> None:
    step.state, step.lease_until, step.finished_at = state, None, datetime.now(UTC)


async def _send_again(session: AsyncSession, fleet: Fleet, step: StepRow) -> None:
    """Each time twice as late, so that a long queue is not flooded with copies."""
    wait = fleet.settings.lease.resend_after * 2 ** min(step.sends, 10)
    step.sends += 1
    step.sent_at = datetime.now(UTC) + timedelta(seconds=wait)
    await _send(session, fleet, step)


async def sweep_step(session: AsyncSession, fleet: Fleet, step_id: str) -> None:
    """Take a step whose worker went silent away from it, or wake a worker again for one nobody has claimed."""
    step = await _held(session, fleet, step_id)
    now = datetime.now(UTC)
    if step.state == StepState.RUNNING and step.lease_until is not None and step.lease_until < now:
        log.warning("lease ran out", step_id=step.id, attempt=step.attempt, worker_id=step.worker_id)
        lost = Failure(code=FailureCode.WORKER_LOST, message=f"The worker was lost during attempt {step.attempt}.")
        await _fail_or_retry(session, fleet, step, lost)
    elif step.state == StepState.QUEUED and step.sent_at < now:
        await _wake(session, fleet, step)


async def _wake(session: AsyncSession, fleet: Fleet, step: StepRow) -> None:
    """Send the message again; a step that needs a toolkit ends where by now no worker has it."""
    toolkit = _toolkit(step)
    if toolkit is None or await repository.is_offered(session, HardwareClass(step.hardware), toolkit):
        await _send_again(session, fleet, step)
        return
    step.failure = Failure(
        code=FailureCode.NO_WORKER,
        message=f"This needs the toolkit `{toolkit}`. {NOBODY_HAS_IT}",
        hint=f"Install it on a worker (`python -m workers toolkits install {toolkit}`) and start that anew.",
        step=step.id,
        toolkit=toolkit,
    )
    await _ended(session, fleet, step, StepState.FAILED)
