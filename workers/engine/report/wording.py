"""Numbers as people read them: three digits, the right unit, the interval in words."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, assert_never

from whetstone.contract.insights import LayerNoise
from whetstone.contract.metrics import Metric
from whetstone.contract.passes import Pass
from whetstone.contract.presets import Preset
from whetstone.contract.reports import (
    BuiltReport,
    Estimate,
    Latency,
    LayerFate,
    SearchSummary,
    ShapeRange,
    TargetReport,
    UnderLoad,
    VerdictKind,
)
from whetstone.contract.scenarios import MultiStream, Offline, Scenario, Server, SingleStream
from whetstone.contract.search import Ended
from whetstone.contract.targets import RuntimeSettings
from whetstone.contract.tuning import Study, TrialRead, TrialState

MINUS = "\N{MINUS SIGN}"
SECOND_MS = 1000
TENTH_MS = 0.1
UNITS = ("B", "kB", "MB", "GB", "TB")
THOUSAND = 1000
LARGE = 100
PERCENTS = (50, 90, 99)
MARKUP = re.compile(r"([\\`*_{}\[\]<>|#&~$])")

NOISY = 0.2
"""The share of the cores' time from which on other work is worth a word."""

METRICS = {
    Metric.ACCURACY: "Accuracy",
    Metric.MSE: "Squared error",
    Metric.AUC: "AUC",
    Metric.LOG_LOSS: "Log-loss",
    Metric.AGREEMENT: "Same decision",
    Metric.POSITIONS: "Same decision at each position",
    Metric.COSINE: "Cosine similarity",
}

HEADLINES = {
    VerdictKind.IMPROVED: "Improved",
    VerdictKind.NO_GAIN: "No gain",
    VerdictKind.OVER_BUDGET: "Over budget",
    VerdictKind.BUILT: "Built, not run",
}


def number(value: float) -> str:
    """Three digits, but no whole number is shortened: 0.0123, 1.23, 12.3, 1235."""
    text = f"{value:.0f}" if abs(value) >= LARGE else f"{value:.3g}"
    return text.replace("-", MINUS)


def count_of(value: int) -> str:
    """1 234 567, with thin spaces that do not break."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def milliseconds(value: float) -> str:
    if value >= SECOND_MS:
        return f"{number(value / SECOND_MS)} s"
    return f"{number(value)} ms" if value >= TENTH_MS else f"{number(1000 * value)} µs"


def seconds(value: float) -> str:
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes else milliseconds(SECOND_MS * value)


def size(value: float) -> str:
    """Decimal units, as file managers and network bills count."""
    unit = 0
    while value >= THOUSAND and unit < len(UNITS) - 1:
        value, unit = value / THOUSAND, unit + 1
    return f"{number(value)} {UNITS[unit]}"


def times(value: float) -> str:
    return f"{number(value)}×"


def percent(value: float) -> str:
    """Of a fraction: 0.9071 is 90.71%."""
    return f"{100 * value:.2f}%"


def signed(value: float) -> str:
    """With two places and a sign: +0.12."""
    text = f"{value:+.2f}".replace("-", MINUS)
    return "0.00" if text[1:] == "0.00" else text


def change(original: float, result: float) -> str:
    """In percent of the original."""
    if not original:
        return ""
    text = f"{100 * (result / original - 1):+.0f}%".replace("-", MINUS)
    return "0%" if text[1:] == "0%" else text


def smaller(ratio: float) -> str:
    """Of original over result."""
    if ratio == 1:
        return "the same size"
    return f"{times(ratio)} smaller" if ratio > 1 else f"{times(1 / ratio)} larger"


def interval(estimate: Estimate, write: Callable[[float], str] = number) -> str:
    """Its confidence is that of the estimate: below 95 % where there was too little to measure."""
    return f"{estimate.confidence:.0%} interval {write(estimate.low)} to {write(estimate.high)}"


def shapes(taken: ShapeRange) -> str:
    """The shapes that an engine takes: free axes as a range, with the size that it is tuned for."""
    axes = (
        str(low) if low == high else f"{low} to {high} (tuned for {usual})"
        for low, usual, high in zip(taken.least, taken.usual, taken.most, strict=True)
    )
    return f"{taken.input}: {' × '.join(axes) or 'a single value'}"


def layer_fidelity(layer: LayerFate) -> str:
    """How near a layer's output stayed."""
    if layer.same:
        return "the same"
    return "–" if layer.sqnr_db is None else f"{number(layer.sqnr_db)} dB"


NAMED = 5
"""Layers that a sentence names."""


def quiet(noise: Sequence[LayerNoise]) -> str:
    """Where a pass has changed outputs most, in a sentence."""
    moved = sorted((layer.sqnr_db, layer.name) for layer in noise if layer.sqnr_db is not None)
    told = f"Layers whose output can be compared with that before: {len(noise)}, changed: {len(moved)}"
    farthest = ", ".join(f"{name} {number(db)} dB" for db, name in moved[:NAMED])
    return f"{told}; farthest: {farthest}." if moved else f"{told}."


def markdown(value: object) -> str:
    """A value as Markdown text: whatever could be markup is escaped, and it stays in its line."""
    return MARKUP.sub(r"\\\1", " ".join(str(value).split()))


class LatencyRow(NamedTuple):
    """A percentile of both sides, each with its interval or why there is none."""

    name: str
    original: str
    original_note: str
    result: str
    result_note: str
    change: str


def latency_rows(original: Latency, result: Latency) -> Iterator[LatencyRow]:
    for percent_ in PERCENTS:
        before, after = original.at(percent_), result.at(percent_)
        changed = change(before.ms, after.ms) if before and after else ""
        yield LatencyRow(f"p{percent_}", *_told(original, percent_), *_told(result, percent_), changed)


class Loss(NamedTuple):
    """What became of the quality, as the verdict judges it: what it is, its change, and how sure that is."""

    name: str
    value: str
    note: str


def loss(report: TargetReport | BuiltReport) -> Loss:
    """The change of the task metric, or else how close the outputs are to the original's."""
    if report.accuracy and report.accuracy.metric.in_points:
        drop = report.accuracy.drop
        turned = drop.model_copy(update={"low": -drop.high, "high": -drop.low})
        return Loss(METRICS[report.accuracy.metric], f"{signed(-drop.value)} points", interval(turned, signed))
    if report.accuracy:
        rise = report.accuracy.drop
        return Loss(METRICS[report.accuracy.metric], f"{signed(rise.value)}%", interval(rise, signed))
    if report.fidelity.agreement:
        return Loss("Same decision", f"{report.fidelity.agreement.value:.2f}%", interval(report.fidelity.agreement))
    return Loss("Cosine similarity", f"{report.fidelity.cosine:.5f}", "to the original's outputs")


def _told(latency: Latency, percent_: float) -> tuple[str, str]:
    found = latency.at(percent_)
    if found:
        return milliseconds(found.ms), f"{milliseconds(found.low_ms)} to {milliseconds(found.high_ms)}"
    return "–", f"needs {latency.unclaimed.get(f'p{percent_:g}', 0)} samples, there are {latency.samples}"


def scenario_name(scenario: Scenario) -> str:
    """What is asked for."""
    match scenario:
        case SingleStream():
            return "One call after the other"
        case MultiStream():
            return f"{scenario.processes} processes at once"
        case Server():
            bound = f"{scenario.percent:g}% within {milliseconds(scenario.latency_ms)}"
            return f"Server, {number(scenario.rate)} calls a second, {bound}"
        case Offline():
            return "Offline, growing batches"
        case _:
            assert_never(scenario)


SETTINGS = {"single_stream": "threads", "multi_stream": "processes", "server": "calls a second", "offline": "batch"}


def under_load(side: UnderLoad) -> str:
    """Whether a server kept its word; empty for others."""
    if side.valid is None:
        return ""
    given_up = f"; {side.unfinished} were given up" if side.unfinished else ""
    return "valid" if side.valid else f"not valid: {side.invalid_because}{given_up}"


def percentile_of(latency: Latency, percent_: float) -> str:
    """A dash where there are too few samples to claim it."""
    found = latency.at(percent_)
    return milliseconds(found.ms) if found else "–"


ENDED = {
    Ended.EXHAUSTED: "nothing was left to try",
    Ended.MINUTES: "its time was over",
    Ended.TRIALS: "it had tried as many as it may",
    Ended.REQUESTED: "it was told to take the best so far",
}


def searched(summary: SearchSummary) -> str:
    """How a search went, in a sentence."""
    crashed = f", of which {summary.crashed} crashed" if summary.crashed else ""
    told = (
        f"{summary.trials} candidates in {seconds(summary.seconds)}{crashed}; it ended because {ENDED[summary.ended]}."
    )
    if summary.disturbed <= NOISY:
        return told
    return f"{told} Other work took {summary.disturbed:.0%} of the cores' time meanwhile, so the choice may be wrong."


def tuned(study: Study) -> str:
    """How a study went, in a sentence."""
    counts = Counter(trial.state for trial in study.trials)
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    of = ", ".join(study.tune.objectives).replace("_", " ")
    return (
        f"{len(study.trials)} trials ({told}), values chosen by {study.tune.sampler}, judged by {of}; it ended because "
        f"{ENDED[study.ended]}. Trial {study.chosen} was taken."
    )


def fate(study: Study, trial: TrialRead) -> str:
    """What became of a trial."""
    if trial.failure is not None:
        return f"failed: {trial.failure.message}"
    if trial.state is TrialState.PRUNED:
        return f"given up after epoch {len(trial.reported)}"
    words = ["taken" if trial.number == study.chosen else str(trial.state)]
    words += ["on the front"] if trial.number in study.front and len(study.tune.objectives) > 1 else []
    return ", ".join([*words, *(["over the budget"] if trial.over else [])])


def preset(used: Preset) -> str:
    """What the preset of a job said, in a sentence."""
    judged = f"judged by {METRICS[used.metric].lower()}" if used.metric else "judged by what labels and outputs suggest"
    learned = ", ".join(config.kind for config in used.augment) or "none"
    told = f"preset {used.domain}: {judged}, calibrator {used.calibrator}, augmentation {learned}"
    for what, named in (("first", used.first), ("without", used.without)):
        told += f", {what} {' and '.join(named)}" if named else ""
    return f"{told[0].upper()}{told[1:]}."


def recipe(passes: Sequence[Pass]) -> str:
    """A recipe in a line: the passes, each with what was set otherwise than by default."""
    return " → ".join(_short(config) for config in passes)


def settings(told: RuntimeSettings) -> str:
    """What a runtime was told, to be put behind something; empty where it was told nothing."""
    changed = told.model_dump(mode="json", exclude_none=True)
    return "".join(f" · {name.replace('_', ' ')} {value}" for name, value in changed.items())


def _short(config: Pass) -> str:
    told = config.model_dump(mode="json", exclude_defaults=True, exclude_none=True, exclude={"kind"})
    settings = ", ".join(f"{name} {plain(value)}" for name, value in told.items())
    return f"{config.kind} ({settings})" if settings else config.kind


def plain(value: object) -> str:
    """A setting in a word or two; numbers with three digits."""
    if isinstance(value, float):
        return f"{value:.3g}".replace("-", MINUS)
    if value is None or value == []:
        return "none"
    if isinstance(value, list):
        return f"{value[0]} and {len(value) - 1} more" if len(value) > 1 else str(value[0])
    return ", ".join(f"{name} {part}" for name, part in value.items()) if isinstance(value, dict) else str(value)
