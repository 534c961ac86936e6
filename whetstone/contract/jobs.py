"""A job: one order, and what becomes of it."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from whetstone.contract.failures import Failure
from whetstone.contract.labels import Labels
from whetstone.contract.passes import Pass
from whetstone.contract.presets import CustomPreset, Domain
from whetstone.contract.reports import Verdict
from whetstone.contract.scenarios import MOST, Scenario
from whetstone.contract.search import Search
from whetstone.contract.targets import Target
from whetstone.contract.tuning import Tune
from whetstone.contract.types import (
    ArtifactRef,
    Bytes,
    Contract,
    Count,
    DatasetRef,
    DisplayName,
    Fraction,
    JobRef,
    ModelRef,
    Sha256,
    StepRef,
    TensorName,
)


class Recipe(Contract):
    """An explicit list of passes, run in order."""

    kind: Literal["recipe"] = "recipe"
    passes: Annotated[tuple[Pass, ...], Field(min_length=1, max_length=20)]


class Objective(StrEnum):
    """What "better" means: lower latency, more samples a second, a smaller file, a process of less memory, or more test
    samples right than the original has.
    """

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    SIZE = "size"
    MEMORY = "memory"
    ACCURACY = "accuracy"


class Assurance(StrEnum):
    """What must stay within `max_drop`: the estimated drop, or its whole confidence interval."""

    ESTIMATE = "estimate"
    INTERVAL = "interval"


class Budget(Contract):
    """What the result must reach.

    `max_drop` is in percentage points of accuracy or auc (percent of the original's for mse and log_loss; points of
    agreement with the original where there are no labels). `min_accuracy` is a share of the samples and needs class
    labels. Where neither is given half a point may be lost; where both are, both hold. With another objective than
    speed a result may take at most `max_slowdown` times as long as the original: a smaller file that crawls serves
    nobody. `max_minutes` limits the work of one step; time in a queue never counts.
    """

    objective: Objective = Objective.LATENCY
    max_drop: Annotated[float, Field(ge=0, le=100)] | None = None
    min_accuracy: Annotated[float, Field(gt=0, le=1)] | None = None
    assurance: Assurance = Assurance.ESTIMATE
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    max_size_mb: Annotated[float, Field(gt=0)] | None = None
    max_slowdown: Annotated[float, Field(ge=1, le=1000)] = 2.0
    max_minutes: Annotated[float, Field(gt=0, le=24 * 60)] = 60


class Measurement(Contract):
    """How results are timed. `threads` None means one thread per physical core of the worker.

    `max_seconds` are for all timing on a target: with scenarios half of it goes to the comparison, and they share the
    rest evenly. Starting processes comes on top.
    """

    batch_size: Annotated[int, Field(ge=1, le=4096)] = 1
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    max_seconds: Annotated[float, Field(ge=1, le=600)] = 30
    scenarios: Annotated[tuple[Scenario, ...], Field(max_length=MOST)] = ()


class JobSpec(Contract):
    """The order: a model, perhaps a dataset, a plan, targets and a budget.

    Without a plan the service searches for one. `preset` is the domain, or that with fields of one's own: where a
    search begins and what is judged; left out it is guessed where the model leaves no doubt, and `general` else.
    `calibration_id` is a dataset of statistics, which the recipe's `quantize` takes the ranges of static activations
    from; other data are not needed for that then. `input_shapes` gives the shape of inputs with dynamic axes when there
    is no dataset to tell it.
    """

    name: DisplayName | None = None
    labels: Labels = {}
    model_id: ModelRef
    dataset_id: DatasetRef | None = None
    calibration_id: DatasetRef | None = None
    plan: Annotated[Recipe | Search | Tune, Field(discriminator="kind")] = Search()
    preset: Domain | CustomPreset | None = None
    targets: Annotated[tuple[Target, ...], Field(min_length=1, max_length=16)] = (Target.ONNXRUNTIME_CPU,)
    budget: Budget = Budget()
    measurement: Measurement = Measurement()
    input_shapes: dict[TensorName, tuple[Annotated[int, Field(ge=1, le=2**31)], ...]] = {}

    @model_validator(mode="after")
    def _each_target_once(self) -> Self:
        if len(set(self.targets)) != len(self.targets):
            raise ValueError("each target may be named once")
        return self


class PlanKind(StrEnum):
    RECIPE = "recipe"
    SEARCH = "search"
    TUNE = "tune"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class StepState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED)


class StepKind(StrEnum):
    """What one worker does at once."""

    INSPECT_MODEL = "inspect_model"
    INSPECT_DATASET = "inspect_dataset"
    OPTIMIZE = "optimize"
    SEARCH = "search"
    TRIAL = "trial"
    DELIVER = "deliver"
    REPORT = "report"
    CHECK = "check"


class StepRead(Contract):
    """A step as the job page shows it."""

    id: StepRef
    kind: StepKind
    target: Target | None
    state: StepState
    attempt: Count
    progress: Fraction
    message: str | None
    failure: Failure | None
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobRead(Contract):
    """A job as the API shows it; its name and labels may be others by now than in `spec`, which keeps no labels.

    `finishing`: its search, or its tuning, was told to end with the best so far.
    """

    id: JobRef
    name: str
    labels: Labels = {}
    spec: JobSpec
    state: JobState
    steps: tuple[StepRead, ...]
    verdict: Verdict | None
    failure: Failure | None
    finishing: bool = False
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ArtifactKind(StrEnum):
    """What a file is. `checkpoint`, `learning_state` and `kit` (a bundle without its manifest) are interim."""

    MODEL = "model"
    CHECKPOINT = "checkpoint"
    LEARNING_STATE = "learning_state"
    REPORT = "report"
    SETTINGS = "settings"
    TOOLCHAIN = "toolchain"
    KIT = "kit"
    BUNDLE = "bundle"


class ArtifactRead(Contract):
    """A file that came out of a job. `target` is set on what was delivered for one target."""

    id: ArtifactRef
    job_id: JobRef
    kind: ArtifactKind
    name: str
    target: Target | None
    size: Bytes
    sha256: Sha256
    media_type: str
    created_at: datetime


class EventKind(StrEnum):
    """What is told on a job's event stream, in the order it happened."""

    JOB_QUEUED = "job.queued"
    JOB_STARTED = "job.started"
    JOB_CANCELLING = "job.cancelling"
    JOB_FINISHING = "job.finishing"
    JOB_FINISHED = "job.finished"
    STEP_QUEUED = "step.queued"
    STEP_STARTED = "step.started"
    STEP_PROGRESS = "step.progress"
    STEP_LOG = "step.log"
    STEP_RETRIED = "step.retried"
    STEP_FINISHED = "step.finished"


class JobEvent(Contract):
    """One event. `seq` counts from 1 within the job without gaps; it is the SSE event id to resume from."""

    seq: Count
    kind: EventKind
    at: datetime
    step_id: StepRef | None = None
    step_kind: StepKind | None = None
    target: Target | None = None
    attempt: Count | None = None
    progress: Fraction | None = None
    message: str | None = None
    metrics: dict[str, float] = {}
    job_state: JobState | None = None
    step_state: StepState | None = None
    failure: Failure | None = None
    verdict: Verdict | None = None
