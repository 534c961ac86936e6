"""A check: whether a candidate has become worse than what a job came to, for the use in CI."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from whetstone.contract.reports import Accuracy, Conditions, Environment, Estimate, Fidelity, Measured
from whetstone.contract.targets import AS_USUAL, RuntimeSettings, Target
from whetstone.contract.types import CheckRef, Contract, JobRef, ModelRef


class Beside(StrEnum):
    """Which side of the baseline job the candidate is put beside: what the job came to, or the model it began with."""

    RESULT = "result"
    ORIGINAL = "original"


class Judged(StrEnum):
    """What a limit is of."""

    ACCURACY = "accuracy"
    LATENCY = "latency"
    SIZE = "size"


class CheckLimits(Contract):
    """What a candidate may be worse by.

    `max_drop` is in points of accuracy or auc (percent of the baseline's for mse and log_loss; points of agreement
    where there are no labels). `max_slowdown` and `max_growth` are ratios of candidate to baseline: 1.1 is ten percent
    slower, or larger.
    """

    max_drop: Annotated[float, Field(ge=0, le=100)] = 0.5
    max_slowdown: Annotated[float, Field(gt=0, le=1000)] = 1.1
    max_growth: Annotated[float, Field(gt=0, le=1000)] = 1.1


class CheckSpec(Contract):
    """A candidate, `model_id` or `job_id`, against the job `against`; on that job's targets, or some of them. What is
    in `skip` is not judged.

    A model is measured on each target side by side with the baseline. Of a job the report is compared, which takes
    that both jobs began with the same model.
    """

    against: JobRef
    model_id: ModelRef | None = None
    job_id: JobRef | None = None
    beside: Beside = Beside.RESULT
    targets: Annotated[tuple[Target, ...], Field(min_length=1, max_length=16)] | None = None
    limits: CheckLimits = CheckLimits()
    skip: Annotated[frozenset[Judged], Field(max_length=2)] = frozenset()

    @model_validator(mode="after")
    def _one_candidate(self) -> Self:
        if (self.model_id is None) == (self.job_id is None):
            raise ValueError("name the candidate, by `model_id` or by `job_id`")
        return self


class CheckState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (CheckState.FINISHED, CheckState.CANCELLED)


class Outcome(StrEnum):
    """`pass`: the whole interval keeps the limit. `fail`: the whole interval is beyond it. `inconclusive`: the limit
    lies within the interval, or nothing can be said.
    """

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Finding(Contract):
    """One limit on one target: what was seen, with its interval, and what that means."""

    target: Target
    judged: Judged
    outcome: Outcome
    limit: float
    seen: Estimate | None
    because: str


class SideBySide(Contract):
    """Candidate and baseline on one target, interleaved in one session, both with these `settings`.

    `accuracy` and `fidelity` have the baseline as the original and the candidate as the result; `speedup` is that of
    the candidate.
    """

    target: Target
    settings: RuntimeSettings = AS_USUAL
    baseline: Measured
    candidate: Measured
    speedup: Estimate
    accuracy: Accuracy | None
    fidelity: Fidelity
    conditions: Conditions
    environment: Environment


class CheckRead(Contract):
    """A check as the API shows it. `outcome` is the worst of its findings: `fail`, else `inconclusive`, else `pass`."""

    id: CheckRef
    spec: CheckSpec
    state: CheckState
    outcome: Outcome | None
    findings: tuple[Finding, ...]
    measured: tuple[SideBySide, ...]
    created_at: datetime
    finished_at: datetime | None
