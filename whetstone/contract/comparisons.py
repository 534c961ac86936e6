"""Jobs side by side."""

from typing import Annotated, Any

from pydantic import Field

from whetstone.contract.jobs import JobState
from whetstone.contract.reports import Accuracy, Estimate, Fidelity, Percentile, Verdict
from whetstone.contract.targets import Target
from whetstone.contract.types import Bytes, Contract, JobRef

MOST_COMPARED = 10


class ComparedJob(Contract):
    id: JobRef
    name: str
    state: JobState
    verdict: Verdict | None


class Against(Contract):
    """A result beside that of the first job on the same target: more lost, times as long, times as large.

    `unknown` says why what is None cannot be told.
    """

    drop: Estimate | None
    slowdown: Estimate | None
    growth: float
    unknown: dict[str, str] = {}


class ComparedResult(Contract):
    """What one job came to on one target. `against_first` is None for the first job, and where that has no result."""

    target: Target
    job_id: JobRef
    verdict: Verdict
    size: Bytes
    size_ratio: float
    median: Percentile | None
    speedup: Estimate
    accuracy: Accuracy | None
    fidelity: Fidelity
    against_first: Against | None


class Difference(Contract):
    """A field that is not the same in all jobs: where it is in the order (or in what was done, `done/0/kind`), and its
    value in each job, None where it is not there.
    """

    field: str
    values: Annotated[dict[JobRef, Any], Field(description="by job")]


class Comparison(Contract):
    """Two or more jobs: a row for each target and result, then everything that differs in what was ordered and done."""

    jobs: tuple[ComparedJob, ...]
    results: tuple[ComparedResult, ...]
    differences: tuple[Difference, ...]
