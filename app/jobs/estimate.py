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
from whetstone.contract.jobs import JobSpec, StepKind, StepState
from whetstone.contract.models import ModelFacts
from whetstone.contract.search import Search
from whetstone.contract.targets import Target
from whetstone.contract.tuning import Tune

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
    planned = [
        await _planned(session, tenant_id, spec, work, kind, count * seconds)
        for kind, (count, seconds) in effort.steps_of_plan(spec, work).items()
    ]
    delivery = await _correction(session, tenant_id, StepKind.DELIVER)
    delivers = [
        _step(
            StepKind.DELIVER, each.target, effort.deliver(work, each.target), effort.memory_of_delivery(work), delivery
        )
        for each in targets
        if each.feasible
    ]
    report = _step(StepKind.REPORT, None, REPORT_SECONDS, REPORT_MEMORY, Correction(1.0, 0))
    steps = (*planned, *delivers, report)
    return JobEstimate(
        feasible=bool(delivers),
        seconds=sum(step.seconds for step in steps),
        memory=max(step.memory for step in steps),
        steps=steps,
        targets=targets,
    )


async def _planned(
    session: AsyncSession, tenant_id: TenantID, spec: JobSpec, work: Work, kind: StepKind, seconds: float
) -> StepEstimate:
    """All steps of a kind together; none goes on beyond the minutes that the plan may take, by much."""
    correction = await _correction(session, tenant_id, kind)
    found = _step(kind, None, seconds, effort.memory_of_plan(spec, work), correction)
    minutes = _most_minutes(spec, kind)
    longest = None if minutes is None else 60 * minutes + effort.START_SECONDS
    return found if longest is None else found.model_copy(update={"seconds": min(found.seconds, longest)})


def _most_minutes(spec: JobSpec, kind: StepKind) -> float | None:
    if isinstance(spec.plan, Search):
        return spec.plan.limit.minutes
    return spec.plan.minutes if isinstance(spec.plan, Tune) and kind is StepKind.TRIAL else None


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
    if step.target is not None:
        rule = effort.deliver(work, Target(step.target))
    else:
        _, rule = effort.steps_of_plan(job.spec, work)[kind]
    took = (step.finished_at - step.started_at).total_seconds()
    return max(took, LEAST_SECONDS) / rule
