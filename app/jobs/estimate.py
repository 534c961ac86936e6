"""Before the run: can it be done on each target, and what will it take?

Seconds come from the rules in effort.py, times what the tenant's finished steps of the same kind took over what the
rules say of them: the median, so that one odd step does not count.
"""

import statistics
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from app.core.tenancy import TenantID
from app.datasets.tables import DatasetRow
from app.fleet import repository as fleet
from app.fleet.tables import StepRow
from app.jobs import effort
from app.jobs.checks import NotReady
from app.jobs.effort import Work
from app.jobs.tables import JobRow
from app.models.tables import ModelRow
from whetstone.contract.estimates import Basis, JobEstimate, StepEstimate, TargetEstimate
from whetstone.contract.jobs import JobSpec, Recipe, StepKind, StepState
from whetstone.contract.models import ModelFacts
from whetstone.contract.targets import Target

LATEST = 20
"""Finished steps of a kind that the rules are set right by."""

REPORT_SECONDS = 1.0
REPORT_MEMORY = 300 * 2**20
LEAST_SECONDS = 0.1


@dataclass(frozen=True)
class Correction:
    """What to multiply a rule by, and how many steps say so."""

    factor: float
    steps: int


async def estimate_job(
    session: AsyncSession, tenant_id: TenantID, spec: JobSpec, model: ModelRow, dataset: DatasetRow | None
) -> JobEstimate:
    """`spec` has been checked against both."""
    if model.facts is None:
        raise NotReady
    work = Work(model.facts, dataset.facts if dataset else None, spec.measurement)
    targets = await _targets(session, spec, model.facts)
    kind = StepKind.OPTIMIZE if isinstance(spec.plan, Recipe) else StepKind.SEARCH
    plan, delivery = [await _correction(session, tenant_id, each) for each in (kind, StepKind.DELIVER)]
    first = _step(kind, None, effort.first_step(spec, work), effort.memory_of_plan(spec, work), plan)
    if not isinstance(spec.plan, Recipe):
        longest = 60 * spec.plan.limit.minutes + effort.START_SECONDS
        first = first.model_copy(update={"seconds": min(first.seconds, longest)})
    delivers = [
        _step(StepKind.DELIVER, each.target, effort.deliver(work), effort.memory_of_delivery(work), delivery)
        for each in targets
        if each.feasible
    ]
    report = _step(StepKind.REPORT, None, REPORT_SECONDS, REPORT_MEMORY, Correction(1.0, 0))
    steps = (first, *delivers, report)
    return JobEstimate(
        feasible=bool(delivers),
        seconds=sum(step.seconds for step in steps),
        memory=max(step.memory for step in steps),
        steps=steps,
        targets=targets,
    )


def _step(kind: StepKind, target: Target | None, seconds: float, memory: int, correction: Correction) -> StepEstimate:
    return StepEstimate(
        kind=kind,
        target=target,
        seconds=seconds * correction.factor,
        memory=memory,
        basis=Basis.HISTORY if correction.steps else Basis.RULE,
        learned_from=correction.steps,
    )


async def _targets(session: AsyncSession, spec: JobSpec, model: ModelFacts) -> tuple[TargetEstimate, ...]:
    workers = await fleet.living_workers(session)
    offered = {target for worker in workers for target in worker.targets}
    return tuple(_target(target, model, available=target in offered) for target in spec.targets)


def _target(target: Target, model: ModelFacts, *, available: bool) -> TargetEstimate:
    refusal = next((each for each in model.refusals if each.runtime == target.runtime), None)
    if refusal is None:
        return TargetEstimate(target=target, feasible=True, available=available)
    unsupported = {op: model.ops.get(op.rpartition(".")[2], 0) for op in refusal.ops}
    return TargetEstimate(
        target=target, feasible=False, available=available, unsupported=unsupported, because=refusal.because
    )


async def _correction(session: AsyncSession, tenant_id: TenantID, kind: StepKind) -> Correction:
    """What the tenant's latest steps of a kind took over what the rules say of them, each a single attempt long."""
    query = (
        select(StepRow, JobRow)
        .join(JobRow, JobRow.id == StepRow.subject_id)
        .where(StepRow.tenant_id == tenant_id, StepRow.kind == kind, StepRow.state == StepState.SUCCEEDED)
        .where(StepRow.attempt == 1)
        .options(joinedload(JobRow.model), joinedload(JobRow.dataset))
        .order_by(StepRow.id.desc())
        .limit(LATEST)
    )
    ratios = [_ratio(kind, step, job) for step, job in (await session.execute(query)).unique()]
    known = [ratio for ratio in ratios if ratio is not None]
    return Correction(statistics.median(known), len(known)) if known else Correction(1.0, 0)


def _ratio(kind: StepKind, step: StepRow, job: JobRow) -> float | None:
    facts = job.model.facts
    if facts is None or step.started_at is None or step.finished_at is None:
        return None
    work = Work(facts, job.dataset.facts if job.dataset else None, job.spec.measurement)
    rule = effort.deliver(work) if kind is StepKind.DELIVER else effort.first_step(job.spec, work)
    took = (step.finished_at - step.started_at).total_seconds()
    return max(took, LEAST_SECONDS) / rule
