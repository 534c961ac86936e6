"""The end of a job: in exactly one final state, with its last event."""

from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app.artifacts import service as artifacts
from app.core.tenancy import TenantID
from app.fleet.repository import StepRepository
from app.jobs.events import tell
from app.jobs.tables import JobRow
from app.webhooks import service as webhooks
from whetstone.contract.failures import Failure
from whetstone.contract.jobs import EventKind, JobState, StepState
from whetstone.contract.webhooks import JobNotice, WebhookKind


async def finish(session: AsyncSession, job: JobRow, state: JobState, failure: Failure | None = None) -> None:
    await artifacts.drop_kits(session, TenantID(job.tenant_id), job.id)
    job.state, job.failure, job.finished_at = state, failure, datetime.now(UTC)
    await tell(session, job, EventKind.JOB_FINISHED, job_state=state, failure=failure, verdict=job.verdict)
    notice = JobNotice(
        job_id=job.id,
        name=job.name,
        state=state,
        model_id=job.model_id,
        dataset_id=job.dataset_id,
        verdict=job.verdict,
        failure=failure,
        finished_at=job.finished_at,
    )
    await webhooks.emit(session, TenantID(job.tenant_id), WebhookKind(f"job.{state}"), notice)


async def finish_if_cancelled(session: AsyncSession, job: JobRow) -> bool:
    """Once no step is left that could still run, a job that is being cancelled is cancelled."""
    if job.state != JobState.CANCELLING:
        return False
    steps = await StepRepository(session, TenantID(job.tenant_id)).of_subject(job.id)
    if all(StepState(step.state).is_final for step in steps):
        await finish(session, job, JobState.CANCELLED)
    return True
