"""What a tenant's earlier searches found for models like this one: it tells a new search what to try first."""

import math
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.expression import cast

from app.core.tenancy import TenantID
from app.fleet.tables import StepRow
from app.jobs.tables import JobRow
from app.models.tables import ModelRow
from whetstone.contract.jobs import StepKind, StepState
from whetstone.contract.steps import Searched
from whetstone.contract.targets import Target
from whetstone.contract.trials import Remembered

LATEST = 100
"""How many searches are looked at."""

MOST_ALIKE = 5
LEAST_LIKENESS = 0.5


async def remember(
    session: AsyncSession, tenant_id: TenantID, model: ModelRow, targets: tuple[Target, ...]
) -> tuple[Remembered, ...]:
    """Of the searches for the most alike models, every candidate that has a score on one of the targets."""
    if model.facts is None:
        return ()
    alike = [(likeness(model.facts.ops, model.facts.params, ops, params), step_id) for step_id, ops, params in
             await _searches(session, tenant_id)]  # fmt: skip
    best = sorted((pair for pair in alike if pair[0] >= LEAST_LIKENESS), reverse=True)[:MOST_ALIKE]
    found = []
    for like, step_id in best:
        query = select(StepRow.result).where(StepRow.tenant_id == tenant_id, StepRow.id == step_id)
        found += list(_scored((await session.scalars(query)).one(), like, targets))
    return tuple(found)


async def _searches(session: AsyncSession, tenant_id: TenantID) -> list[tuple[str, dict[str, int], int]]:
    """The tenant's latest searches that ended well: step, and its model's operators and parameters."""
    facts = cast(ModelRow.facts, JSONB)
    query = (
        select(StepRow.id, facts["ops"], facts["params"].as_integer())
        .join(JobRow, JobRow.id == StepRow.subject_id)
        .join(ModelRow, ModelRow.id == JobRow.model_id)
        .where(StepRow.tenant_id == tenant_id, StepRow.kind == StepKind.SEARCH, StepRow.state == StepState.SUCCEEDED)
        .order_by(StepRow.id.desc())
        .limit(LATEST)
    )
    return [(step_id, ops, params) for step_id, ops, params in await session.execute(query)]


def _scored(result: object, like: float, targets: tuple[Target, ...]) -> Iterator[Remembered]:
    for one in result.candidates if isinstance(result, Searched) else ():
        if one.target in targets and one.lost is not None and one.speedup is not None and one.size_ratio is not None:
            yield Remembered(
                recipe=one.recipe,
                target=one.target,
                likeness=like,
                lost=one.lost,
                speedup=one.speedup,
                size_ratio=one.size_ratio,
            )


def likeness(ops: dict[str, int], params: int, other_ops: dict[str, int], other_params: int) -> float:
    """0 to 1: the cosine between the logarithms of how often each operator occurs, less where sizes differ much."""
    names = ops.keys() | other_ops.keys()
    one, other = ([math.log1p(counts.get(name, 0)) for name in names] for counts in (ops, other_ops))
    norms = math.hypot(*one) * math.hypot(*other)
    cosine = sum(a * b for a, b in zip(one, other, strict=True)) / norms if norms else 0.0
    apart = abs(math.log10((params + 1) / (other_params + 1)))
    return min(1.0, cosine / (1 + apart))
