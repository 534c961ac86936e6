"""What an attempt leaves while it works, so that the next goes on from there: checkpoints, learning state, findings."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.artifacts import service as artifacts
from app.core.tenancy import TenantID
from app.fleet.service import Fleet, WrongResult, owned, prolong, without_interim
from app.fleet.tables import StepInput, StepRow
from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.steps import (
    Checkpoint,
    Findings,
    InputRole,
    LearningState,
    Optimize,
    OutputFile,
    SearchRecipe,
)


async def save_checkpoint(session: AsyncSession, fleet: Fleet, token: str, saved: Checkpoint) -> None:
    """Remember how far an optimize step has come, so that a retry goes on from there."""
    step = await owned(session, fleet, token)
    if not isinstance(step.task, Optimize):
        raise WrongResult("Only an optimize step has checkpoints.")
    tenant_id = TenantID(step.tenant_id)
    await artifacts.drop_interim(session, tenant_id, step.id)  # with it the learning state of the pass now done
    row = await artifacts.add(session, tenant_id, step.subject_id, step.id, None, saved.output)
    given = StepInput(role=InputRole.CHECKPOINT, file_id=row.file_id, filename=saved.output.name)
    step.inputs = (*without_interim(step.inputs), given)
    step.task = step.task.model_copy(update={"done": saved.passes})
    prolong(fleet, step)


async def save_learning(session: AsyncSession, fleet: Fleet, token: str, saved: LearningState) -> None:
    """Remember how far the pass in work has learned; replaces what was remembered before."""
    step = await owned(session, fleet, token)
    if not isinstance(step.task, Optimize) or saved.output.kind is not ArtifactKind.LEARNING_STATE:
        raise WrongResult("Only an optimize step has a learning state.")
    tenant_id = TenantID(step.tenant_id)
    await artifacts.drop_interim(session, tenant_id, step.id, (ArtifactKind.LEARNING_STATE,))
    row = await artifacts.add(session, tenant_id, step.subject_id, step.id, None, saved.output)
    given = StepInput(role=InputRole.LEARNING_STATE, file_id=row.file_id, filename=saved.output.name)
    step.inputs = (*(old for old in step.inputs if old.role is not InputRole.LEARNING_STATE), given)
    prolong(fleet, step)


async def save_findings(session: AsyncSession, fleet: Fleet, token: str, found: Findings) -> None:
    """Remember what a search has come to, so that a retry goes on from there.

    Attempts count anew with every candidate: a search that gets on must not fail because it is long.
    """
    step = await owned(session, fleet, token)
    if not isinstance(step.task, SearchRecipe):
        raise WrongResult("Only a search has findings.")
    if found.output is not None:
        await _keep_best(session, step, found.output)
    changed = {"tried": (*step.task.tried, *found.tried), "trying": found.trying, "spent": found.spent}
    step.task = step.task.model_copy(update=changed)
    if found.tried:
        step.max_attempts = step.attempt + fleet.settings.lease.max_attempts
    prolong(fleet, step)


async def _keep_best(session: AsyncSession, step: StepRow, output: OutputFile) -> None:
    tenant_id = TenantID(step.tenant_id)
    row = await artifacts.add(session, tenant_id, step.subject_id, step.id, None, output)
    await artifacts.drop_interim(session, tenant_id, step.id, but=row.id)
    given = StepInput(role=InputRole.CHECKPOINT, file_id=row.file_id, filename=output.name)
    step.inputs = (*without_interim(step.inputs), given)
