"""The worker protocol: how a worker claims a step, tells of it, and finishes it."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from whetstone.contract.checks import SideBySide
from whetstone.contract.datasets import DatasetFacts
from whetstone.contract.failures import Failure
from whetstone.contract.jobs import ArtifactKind, Budget, Measurement, StepKind
from whetstone.contract.models import ModelFacts
from whetstone.contract.passes import Pass
from whetstone.contract.preprocessing import Preprocessing
from whetstone.contract.presets import GENERAL, Preset
from whetstone.contract.previews import DatasetPreview
from whetstone.contract.provenance import Envelope
from whetstone.contract.reports import BuiltReport, Candidate, JobReport, PassReport, SearchSummary, TargetReport
from whetstone.contract.search import Ended, Limit
from whetstone.contract.targets import AS_USUAL, HardwareClass, RuntimeSettings, Target
from whetstone.contract.toolkits import Toolkit
from whetstone.contract.trials import Interrupted, Remembered, Trial
from whetstone.contract.tuning import TrialRead, Tune, Values
from whetstone.contract.types import Bytes, Contract, Count, FileName, Fraction, Seconds, Sha256, StepRef, WorkerRef
from whetstone.contract.uploads import PartLink

RUN_STEP = "whetstone.run_step"
"""The one Celery task; its arguments are the step id and a signed step token, nothing else."""


class InputRole(StrEnum):
    """What an input file is to a step. `model` is always the tenant's original; in a check it is the baseline, and
    `result` the candidate.

    `teacher` and `student` are other models of the tenant that a `finetune` pass names, `source` is the dataset that an
    `adapt` pass does; `calibration` are statistics that `quantize` takes ranges from. `checkpoint` is the graph after
    the passes done so far, or the best that a search has found so far; `learning_state` is where the pass after them
    had got to. Of `kit` there may be several, one for each target.
    """

    MODEL = "model"
    DATASET = "dataset"
    RESULT = "result"
    RUNNER_UP = "runner_up"
    CHECKPOINT = "checkpoint"
    TEACHER = "teacher"
    STUDENT = "student"
    SOURCE = "source"
    CALIBRATION = "calibration"
    LEARNING_STATE = "learning_state"
    KIT = "kit"


class InspectModel(Contract):
    kind: Literal[StepKind.INSPECT_MODEL] = StepKind.INSPECT_MODEL


class InspectDataset(Contract):
    kind: Literal[StepKind.INSPECT_DATASET] = StepKind.INSPECT_DATASET


class Optimize(Contract):
    """Run the passes from number `done` on; the checkpoint input is the graph after the first `done` passes.

    What passes time, they time at this batch size.
    """

    kind: Literal[StepKind.OPTIMIZE] = StepKind.OPTIMIZE
    passes: tuple[Pass, ...]
    done: tuple[PassReport, ...] = ()
    batch_size: Annotated[int, Field(ge=1)] = 1


class SearchRecipe(Contract):
    """Find the best recipe for each target.

    `history` is what did well or badly for the tenant's earlier models that are like this one. `tried`, `trying` and
    `spent` (the time already spent) are how far an earlier attempt had come. With `stop` nothing more is tried: the
    best so far is the result.
    """

    kind: Literal[StepKind.SEARCH] = StepKind.SEARCH
    limit: Limit
    targets: tuple[Target, ...]
    budget: Budget
    measurement: Measurement
    input_shapes: dict[str, tuple[int, ...]] = {}
    preset: Preset = GENERAL
    history: tuple[Remembered, ...] = ()
    tried: tuple[Trial, ...] = ()
    trying: Interrupted | None = None
    spent: Seconds = 0.0
    stop: Ended | None = None


class TryValues(Contract):
    """Choose values for the parameters and see what the recipe makes of them.

    `trials` is the study so far: those that have ended in the order in which they did, then those that run elsewhere.
    `parameters` were chosen by an earlier attempt. With `stop` the study was told to end.
    """

    kind: Literal[StepKind.TRIAL] = StepKind.TRIAL
    tune: Tune
    number: Count
    target: Target
    budget: Budget
    measurement: Measurement
    input_shapes: dict[str, tuple[int, ...]] = {}
    preset: Preset = GENERAL
    trials: tuple[TrialRead, ...] = ()
    parameters: Values | None = None
    stop: Ended | None = None


class OnTarget(Contract):
    """How two models are put beside each other on one target."""

    target: Target
    settings: RuntimeSettings = AS_USUAL
    measurement: Measurement
    input_shapes: dict[str, tuple[int, ...]] = {}
    preset: Preset = GENERAL


class Deliver(OnTarget):
    """Convert for one target, verify, measure against the original, judge. The result is run with these settings. For a
    target that is only built: build, and judge the graph behind it.

    If it gains nothing and there is a runner-up, that one is judged too, run with its own.
    """

    kind: Literal[StepKind.DELIVER] = StepKind.DELIVER
    runner_up: RuntimeSettings | None = None
    budget: Budget


class Compare(OnTarget):
    """Measure a candidate beside the baseline of a check, both run with these settings. Nothing is handed over."""

    kind: Literal[StepKind.CHECK] = StepKind.CHECK


class MakeReport(Contract):
    """Draw the report page from what was measured, and put the signed manifest of each target into its bundle."""

    kind: Literal[StepKind.REPORT] = StepKind.REPORT
    report: JobReport
    manifests: dict[Target, Envelope] = {}


Task = Annotated[
    InspectModel | InspectDataset | Optimize | SearchRecipe | TryValues | Deliver | MakeReport | Compare,
    Field(discriminator="kind"),
]


class InputFile(Contract):
    """A file the step needs; `url` is signed and expires. `preprocessing` says how a dataset is read.

    One that is not `proven` has come straight into the storage, and its hash is what was announced: if it has another,
    the fault is the file's.
    """

    role: InputRole
    filename: FileName
    size: Bytes
    sha256: Sha256
    proven: bool = True
    url: str
    preprocessing: Preprocessing | None = None


class Limits(Contract):
    """What the sandboxed child may use at most."""

    seconds: Seconds
    memory: Bytes
    file_size: Bytes


class Order(Contract):
    """The answer to a claim: all a worker needs. `token` proves this attempt in every later call."""

    step_id: StepRef
    attempt: Count
    token: str
    lease_seconds: Seconds
    task: Task
    inputs: tuple[InputFile, ...]
    limits: Limits


class Heartbeat(Contract):
    """Progress since the last one, and the values that a trial has chosen; also prolongs the lease."""

    progress: Fraction | None = None
    message: Annotated[str, Field(max_length=500)] | None = None
    metrics: Annotated[dict[str, float], Field(max_length=50)] = {}
    logs: Annotated[tuple[Annotated[str, Field(max_length=2000)], ...], Field(max_length=100)] = ()
    chosen: Values | None = None


class HeartbeatAnswer(Contract):
    """`cancel` asks the worker to stop the child and report the step as cancelled, `wrap_up` to end a search with the
    best it has found so far.
    """

    cancel: bool
    wrap_up: bool = False


class UploadRequest(Contract):
    sha256: Sha256
    size: Bytes


class UploadAnswer(Contract):
    """Where to PUT the bytes, and what to say once they are there; nothing when the tenant already has this content."""

    upload: str | None = None
    parts: tuple[PartLink, ...] = ()


class UploadDone(Contract):
    """`upload` as the answer had it."""

    upload: str


class OutputFile(Contract):
    """A file that the step made and uploaded."""

    name: FileName
    kind: ArtifactKind
    media_type: str
    sha256: Sha256
    size: Bytes


class Checkpoint(Contract):
    """The graph after a pass, so that a retry goes on from there."""

    passes: tuple[PassReport, ...]
    output: OutputFile


class LearningState(Contract):
    """How far the pass in work has learned, so that a retry goes on from there."""

    output: OutputFile


class Findings(Contract):
    """What a search has come to since it last said so: what was tried, what is tried now, and what time is spent.

    `output` holds the best graph of each target, where there is a better one.
    """

    tried: tuple[Trial, ...] = ()
    trying: Interrupted | None = None
    spent: Seconds
    output: OutputFile | None = None


class ModelInspected(Contract):
    kind: Literal[StepKind.INSPECT_MODEL] = StepKind.INSPECT_MODEL
    facts: ModelFacts


class DatasetInspected(Contract):
    kind: Literal[StepKind.INSPECT_DATASET] = StepKind.INSPECT_DATASET
    facts: DatasetFacts
    preview: DatasetPreview | None = None


class Optimized(Contract):
    kind: Literal[StepKind.OPTIMIZE] = StepKind.OPTIMIZE
    passes: tuple[PassReport, ...]


class Contender(Contract):
    """A graph that a search hands over: the file that holds it, how to load it, and the passes that made it; none is
    the original.
    """

    settings: RuntimeSettings = AS_USUAL
    file: FileName
    passes: tuple[PassReport, ...]


class Winner(Contender):
    """The best found for one target, and the best of those that lost little, if that is another: the search judged them
    by few samples, and what seemed good enough there may not be.
    """

    target: Target
    runner_up: Contender | None = None


class Searched(Contract):
    kind: Literal[StepKind.SEARCH] = StepKind.SEARCH
    candidates: tuple[Candidate, ...]
    winners: tuple[Winner, ...]
    summary: SearchSummary


class PackedFile(Contract):
    """A file inside a kit, by its path there."""

    name: Annotated[str, Field(min_length=1, max_length=500)]
    sha256: Sha256


class ValuesTried(Contract):
    """What became of a trial: its `values` follow the objectives, None where it was pruned. See `TrialRead`."""

    kind: Literal[StepKind.TRIAL] = StepKind.TRIAL
    parameters: Values
    values: tuple[float, ...] | None
    reported: Annotated[tuple[float, ...], Field(max_length=10_000)] = ()
    over: Annotated[float, Field(ge=0)] | None = None


class Delivered(Contract):
    kind: Literal[StepKind.DELIVER] = StepKind.DELIVER
    report: TargetReport | BuiltReport
    packed: tuple[PackedFile, ...] = ()


class ReportMade(Contract):
    kind: Literal[StepKind.REPORT] = StepKind.REPORT


class Compared(Contract):
    kind: Literal[StepKind.CHECK] = StepKind.CHECK
    seen: SideBySide


StepResult = Annotated[
    ModelInspected | DatasetInspected | Optimized | Searched | ValuesTried | Delivered | ReportMade | Compared,
    Field(discriminator="kind"),
]


class Finish(Contract):
    """The step is done: what it found and the files it uploaded."""

    result: StepResult
    outputs: tuple[OutputFile, ...] = ()


class Fail(Contract):
    """The step cannot be done; `outputs` are files that were uploaded, as they are of use all the same."""

    failure: Failure
    cancelled: bool = False
    outputs: tuple[OutputFile, ...] = ()


class Enrol(Contract):
    """A worker introduces itself and then repeats this as its sign of life."""

    worker_id: WorkerRef
    name: Annotated[str, Field(min_length=1, max_length=200)]
    hardware: HardwareClass
    targets: tuple[Target, ...]
    toolkits: tuple[Toolkit, ...] = ()
    version: str
    cpu: str
    cores: int
    memory: Bytes
