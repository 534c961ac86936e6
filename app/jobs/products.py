"""What a job made of its model for a target, before it was converted."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.artifacts.service import ArtifactRepository
from app.core.tenancy import TenantID
from app.fleet.repository import StepRepository
from app.fleet.tables import StepInput
from app.jobs.assembly import taken
from app.jobs.tables import JobRow
from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.reports import JobReport, VerdictKind
from whetstone.contract.steps import InputRole, Optimized, Searched
from whetstone.contract.targets import Target


async def graph_of(session: AsyncSession, job: JobRow, report: JobReport, target: Target) -> StepInput | None:
    """The graph behind the result, as the input `model`; None where the original was returned."""
    told = next(each for each in report.targets if each.target is target)
    if told.verdict.kind is VerdictKind.NO_GAIN:
        return None
    tenant_id = TenantID(job.tenant_id)
    steps = await StepRepository(session, tenant_id).of_subject(job.id)
    maker = next(step for step in steps if isinstance(step.result, Optimized | Searched))
    made = await ArtifactRepository(session, tenant_id).of_job(job.id)
    graphs = {row.name: row for row in made if row.step_id == maker.id and row.kind == ArtifactKind.MODEL}
    found = maker.result
    row = graphs[taken(found, told).file] if isinstance(found, Searched) else next(iter(graphs.values()))
    return StepInput(role=InputRole.MODEL, file_id=row.file_id, filename=row.name)
