"""What was measured, per target, against the original; and the verdict."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from whetstone.contract.failures import Failure
from whetstone.contract.insights import Calibration, Importance, LayerNoise, Saliency, WorstSample
from whetstone.contract.metrics import Metric
from whetstone.contract.passes import Pass
from whetstone.contract.presets import GENERAL, Preset
from whetstone.contract.scenarios import Scenario
from whetstone.contract.search import Ended
from whetstone.contract.targets import AS_USUAL, RuntimeSettings, Target
from whetstone.contract.tuning import Study
from whetstone.contract.types import (
    Bytes,
    Contract,
    Count,
    DatasetRef,
    Fraction,
    JobRef,
    Milliseconds,
    ModelRef,
    Seconds,
    Sha256,
)

SCHEMA_VERSION = 1


class VerdictKind(StrEnum):
    """`improved`: meets the budget and is better. `no_gain`: the original is returned. `over_budget`: better and
    accurate enough, but misses a stated limit; the best so far is returned. `built`: for a device that is not here,
    so what it gains there was not seen.
    """

    IMPROVED = "improved"
    NO_GAIN = "no_gain"
    OVER_BUDGET = "over_budget"
    BUILT = "built"


class ReportForm(StrEnum):
    """How a report is written: a page, Markdown, or the data itself."""

    HTML = "html"
    MARKDOWN = "md"
    JSON = "json"


class Verdict(Contract):
    """The judgement and, in one sentence, why."""

    kind: VerdictKind
    reason: str


class Estimate(Contract):
    """A value with its confidence interval."""

    value: float
    low: float
    high: float
    confidence: Fraction = 0.95


class Percentile(Contract):
    """A latency percentile with its interval; given only when there are enough samples to claim it."""

    percent: Annotated[float, Field(gt=0, lt=100)]
    ms: Milliseconds
    low_ms: Milliseconds
    high_ms: Milliseconds


class Latency(Contract):
    """One inference call after warm-up, in milliseconds. `curve` holds evenly spaced quantiles for drawing.

    `unclaimed` maps a percentile that cannot be claimed to the number of samples it would need.
    """

    samples: Count
    mean_ms: Milliseconds
    min_ms: Milliseconds
    percentiles: tuple[Percentile, ...]
    unclaimed: dict[str, int] = {}
    curve: tuple[float, ...] = ()

    def at(self, percent: float) -> Percentile | None:
        return next((p for p in self.percentiles if p.percent == percent), None)


class OperatorTime(Contract):
    """Time of one operator in a profiled run, the unit it ran on and the precision it ran in."""

    name: str
    op: str
    ms: Milliseconds
    unit: str
    precision: str


class Measured(Contract):
    """One side (original or result) on one target. `units` and `precisions` count operators."""

    size: Bytes
    cold_load_ms: Milliseconds
    warm_load_ms: Milliseconds
    peak_memory: Bytes
    latency: Latency
    units: dict[str, int]
    precisions: dict[str, int]
    operators: tuple[OperatorTime, ...]


class ClassAccuracy(Contract):
    label: int
    samples: Count
    original: Fraction
    result: Fraction


class Confusion(Contract):
    """Samples of one class that the original took for one class and the result for another."""

    label: int
    original: int
    result: int
    samples: Count


class Flips(Contract):
    """Samples that the two models decide differently: right before and wrong now (`lost`), the other way round
    (`won`), wrong both times (`moved`). `confusions` are the most frequent changes, `examples` the first places in the
    test split of samples that were lost.
    """

    lost: Count
    won: Count
    moved: Count
    confusions: tuple[Confusion, ...] = ()
    examples: tuple[int, ...] = ()


class UnderLoad(Contract):
    """One side under a load. `throughput` is in samples a second.

    Latency is that of calls; of a server from their arrival. `valid` and `invalid_because` are a server's: whether the
    latency that was asked for can be claimed. `unfinished` calls were given up; they are no samples of the latency.
    """

    throughput: float
    latency: Latency
    valid: bool | None = None
    invalid_because: str | None = None
    unfinished: Count = 0


class LoadPoint(Contract):
    """Both sides at one setting of a scenario: processes, threads, batch size, or the rate a second that was asked for.

    `ratio` is the result's samples a second over the original's, by turns in the same pair of processes; None where
    the rate is given.
    """

    setting: float
    original: UnderLoad
    result: UnderLoad
    ratio: Estimate | None = None


class ScenarioReport(Contract):
    """What came of a scenario. `seconds` were timed on both sides together, `budget` is what they might have been.

    `ended` says why there are no more points.
    """

    scenario: Scenario
    points: tuple[LoadPoint, ...]
    seconds: Seconds
    budget: Seconds
    ended: str
    disturbed: Fraction = 0.0


class Accuracy(Contract):
    """The task metric on the test split. `drop` > 0 means the result is worse.

    For accuracy and auc the drop is in percentage points, for mse and log_loss in percent of the original's.
    """

    metric: Metric
    samples: Count
    original: float
    result: float
    drop: Estimate
    per_class: tuple[ClassAccuracy, ...] = ()
    flips: Flips | None = None


class Fidelity(Contract):
    """How close the result's outputs are to the original's on the same inputs, needing no labels.

    `agreement` is the share of equal decisions in percent (None where outputs are no decision), of samples or, with the
    metric `positions`, of the positions of a sequence; `cosine` is the mean
    cosine similarity, `sqnr_db` the signal-to-quantization-noise ratio in dB (None when identical).
    """

    samples: Count
    synthetic_inputs: bool
    agreement: Estimate | None
    cosine: float
    sqnr_db: float | None
    max_abs_error: float


class Conversion(Contract):
    """The delivered file run in its runtime against the graph it was made from, on the same inputs."""

    samples: Count
    max_abs_error: float
    max_relative_error: float
    tolerance: float


class Conditions(Contract):
    """How the measurement was made. `valid` is false with `invalid_because` when it should not be relied on."""

    batch_size: int
    threads: int
    rounds: Count
    warmup_runs: Count
    seconds: Seconds
    load_before: float
    valid: bool
    invalid_because: tuple[str, ...] = ()


class Environment(Contract):
    """The hardware and the toolchain of the measurement."""

    cpu: str
    cores: int
    memory: Bytes
    system: str
    isa: tuple[str, ...]
    versions: dict[str, str]


class LayerFate(Contract):
    """One layer of the original, and what of it is in the result.

    `macs` are those of the original at batch 1. `bits` and `sparsity` (the share of its weights that are zero) are of
    the result, None where the layer is not found again. `sqnr_db` compares its output in the result with that in the
    original on a few samples: it falls where the error comes in. None where the outputs are identical (`same`) or
    cannot be compared.
    """

    name: str
    op: str
    params: Count
    macs: Count | None
    bits: Count | None
    sparsity: Fraction | None
    sqnr_db: float | None
    same: bool = False


class TargetReport(Contract):
    """Original against result on one target; both ran interleaved in one session.

    The result ran with these `settings`. With streams its latency is that of calls side by side, and the speed-up
    counts samples a second.

    After a search `first_choice` is why its first choice gained nothing, where the runner-up is the result instead.
    `worst` are those samples that lost most confidence.
    """

    target: Target
    settings: RuntimeSettings = AS_USUAL
    verdict: Verdict
    first_choice: str | None = None
    original: Measured
    result: Measured
    speedup: Estimate
    size_ratio: float
    accuracy: Accuracy | None
    fidelity: Fidelity
    calibration: Calibration | None = None
    conversion: Conversion
    conditions: Conditions
    environment: Environment
    scenarios: tuple[ScenarioReport, ...] = ()
    layers: tuple[LayerFate, ...] = ()
    worst: tuple[WorstSample, ...] = ()
    saliency: Saliency | None = None


class EngineKey(Contract):
    """What an engine fits: the runtime of this version, on a device of this compute capability."""

    runtime: str
    version: str
    compute_capability: str


class ShapeRange(Contract):
    """The shapes of one input that an engine takes, from `least` to `most`; it is tuned for the `usual` one."""

    input: str
    least: tuple[int, ...]
    usual: tuple[int, ...]
    most: tuple[int, ...]


class Kernel(Contract):
    """One kernel of an engine, as its builder tells: the type of its first input, and the graph's nodes it computes."""

    name: str
    kind: str
    precision: str
    nodes: tuple[str, ...] = ()


class BuiltReport(Contract):
    """A result that was built for a device and not run, as there is none here. Nothing is known of its speed there.

    `accuracy`, `fidelity` and `layers` are of the graph that it was built from, run in onnxruntime on the CPU beside
    the original: `graph_size` is that of its file, `size` the engine's. `precisions` counts kernels; the first of them
    are listed. `notes` are the warnings of parser and builder.
    """

    target: Target
    verdict: Verdict
    key: EngineKey
    size: Bytes
    graph_size: Bytes
    build_seconds: Seconds
    shapes: tuple[ShapeRange, ...]
    kernels: tuple[Kernel, ...]
    precisions: dict[str, int]
    notes: tuple[str, ...] = ()
    accuracy: Accuracy | None
    fidelity: Fidelity
    environment: Environment
    layers: tuple[LayerFate, ...] = ()


class LayerChange(Contract):
    """What a pass did to one layer, or why it left it alone."""

    name: str
    op: str
    change: str
    before: str | None = None
    after: str | None = None
    kept_because: str | None = None


class Curve(Contract):
    """A series for drawing, such as a validation loss per epoch."""

    name: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


class PassReport(Contract):
    """What one pass did and cost, and what the graph is after it.

    `noise` has the layers whose output can be compared; a search does not measure it.
    """

    index: Count
    config: Pass
    summary: str
    seconds: Seconds
    params: Count
    nonzero_params: Count
    macs: Count | None
    size: Bytes
    layers: tuple[LayerChange, ...] = ()
    curves: tuple[Curve, ...] = ()
    noise: tuple[LayerNoise, ...] = ()
    importance: tuple[Importance, ...] = ()
    notes: tuple[str, ...] = ()


class Candidate(Contract):
    """One recipe that a search tried on one target. What it was measured by is brief: a guide, no proof.

    `lost` is in the unit of `max_drop`; `speedup` and the ratios are against the original on the same target, and
    `memory_ratio` is taken only where memory is what counts. All are None where the recipe could not be tried. `brief`
    ones were dropped after a look at a few samples. `front` marks those that no other beats in everything.
    """

    recipe: tuple[Pass, ...]
    target: Target
    settings: RuntimeSettings = AS_USUAL
    lost: float | None
    speedup: float | None
    size_ratio: float | None
    memory_ratio: float | None = None
    latency_ms: Milliseconds | None = None
    brief: bool = False
    front: bool
    chosen: bool
    because: str


class SearchSummary(Contract):
    """How a search went: what it was ended by, how many candidates it tried, and what they took.

    `misses` has a sentence for each target where no candidate keeps every limit: which came nearest. `disturbed` is the
    share of the cores' time that other work took meanwhile: of much, the choice may be wrong.
    """

    ended: Ended
    trials: Count
    crashed: Count = 0
    seconds: Seconds
    misses: tuple[str, ...] = ()
    disturbed: Fraction = 0.0


class FailedTarget(Contract):
    """A target that could not be delivered; the other targets of the job stand on their own."""

    target: Target
    failure: Failure


class JobReport(Contract):
    """The whole story of a job. Targets that were only built, not run, are under `built`."""

    schema_version: int = SCHEMA_VERSION
    job_id: JobRef
    job_name: str
    model_id: ModelRef
    model_name: str
    model_sha256: Sha256
    dataset_id: DatasetRef | None
    dataset_name: str | None
    dataset_sha256: Sha256 | None
    verdict: Verdict
    preset: Preset = GENERAL
    passes: tuple[PassReport, ...]
    targets: tuple[TargetReport, ...]
    built: tuple[BuiltReport, ...] = ()
    failed_targets: tuple[FailedTarget, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    search: SearchSummary | None = None
    study: Study | None = None
    created_at: datetime
