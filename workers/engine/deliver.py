"""The last step for one target: convert, verify, measure beside the original, judge, and hand over what won."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from whetstone.calibration.session import Session as Reference
from whetstone.contract.jobs import ArtifactKind, Budget, Measurement
from whetstone.contract.reports import (
    Accuracy,
    Conversion,
    Fidelity,
    ScenarioReport,
    TargetReport,
    Verdict,
    VerdictKind,
)
from whetstone.contract.steps import Deliver, Delivered, InputRole, OnTarget, PackedFile
from whetstone.contract.targets import AS_USUAL, RuntimeSettings, Target, toolkit_of
from workers.engine.bundle.assemble import GZIP, kit_name
from workers.engine.bundle.kit import Agreement, Pair, few_enough, pack
from workers.engine.data.fit import given_samples
from workers.engine.graph.graph import Graph
from workers.engine.importers.detect import open_model
from workers.engine.measure.conversion import tolerance_for, verify
from workers.engine.measure.environment import describe
from workers.engine.measure.evaluation import evaluate
from workers.engine.measure.feed import Feed
from workers.engine.measure.latency import Contest, Timing, cores_for, measure
from workers.engine.measure.layers import fates
from workers.engine.measure.opinions import Debate, Opinions
from workers.engine.measure.reading import Reading, reading_of
from workers.engine.measure.saliency import saliency
from workers.engine.measure.scenarios import check_scenarios, comparing_part, measure_scenarios
from workers.engine.measure.showing import worst_samples
from workers.engine.measure.toolchain import toolchain
from workers.engine.measure.verdict import Evidence, judge
from workers.engine.request import Done, MadeFile, Message, Progress, Request
from workers.engine.targets.choose import delivered_name, runtime_for
from workers.engine.targets.shape_ranges import ranges_of

VERIFIED_SAMPLES = 32
STEP = 0.002
COMPARING = 0.45
"""The share of judging that comparing outputs takes; measuring takes the rest."""

LOADS_FROM = 0.8
"""Of the step's progress, where there are scenarios."""

CYCLONEDX = "application/vnd.cyclonedx+json"

Tell = Callable[[Message], None]


@dataclass(frozen=True)
class Candidate:
    """One side: the graph behind it, the file for the target, and what of that is loaded and how."""

    graph: Path
    file: Path
    unpacked: Path
    settings: RuntimeSettings


@dataclass(frozen=True)
class Source:
    """The tenant's model as one graph file, what both sides are fed, and how their outputs are read."""

    file: Path
    feed: Feed
    graph: Graph
    reading: Reading

    def agreement(self, target: Target, settings: RuntimeSettings, few: Feed, threads: int) -> Agreement:
        """How the models of a bundle are called and read; `few` are the samples that it holds."""
        return Agreement(
            target=target,
            model=delivered_name(target),
            inputs=few.inputs,
            outputs=self.graph.outputs,
            settings=settings,
            threads=threads,
            batch_size=few.batch_size,
            samples=few.count,
            whole=self.feed.count,
            largest_label=None if few.labels is None else float(few.labels.max()),
            thresholds=self.reading.thresholds,
            metric=self.reading.metric,
            compared=self.reading.without_labels,
        )


class Stage:
    """A stretch of the step's progress, from `start` to `end`; told in steps of `STEP`."""

    def __init__(self, tell: Tell, start: float, end: float, message: str) -> None:
        self._tell, self._start, self._end, self._message = tell, start, end, message
        self._next = 0.0
        self.at(0.0)

    def at(self, share: float, **metrics: float) -> None:
        fraction = self._start + share * (self._end - self._start)
        if fraction >= self._next:
            self._next = fraction + STEP
            self._tell(Progress(fraction=fraction, message=self._message, metrics=metrics))


def deliver(request: Request, task: Deliver, tell: Tell) -> Done:
    """Write the file that is delivered into `request.outputs`, and tell how it compares with the original.

    Where nothing was gained this is the original, converted; the report still describes both.

    Raises: what the importers raise, and TargetBuildFailed, PrecisionNotOffered, ProviderFellBack, BatchFixed,
        DatasetMismatch, ResultMismatch, ShapesDiffer, NotFinite, RuntimeCrashed, RunnerRefused, TooManyThreads.
    """
    stage = Stage(tell, 0.0, 0.1, f"converting for {task.target}")
    trial = Trial(request, task)
    stage.at(1.0)
    last = LOADS_FROM if task.measurement.scenarios else 1.0
    end = last if task.runner_up is None else (0.1 + last) / 2
    judged, first_choice = trial.judged(InputRole.RESULT, task.settings, task.budget, tell, (0.1, end)), None
    if task.runner_up is not None and judged.verdict.kind is VerdictKind.NO_GAIN:
        second = trial.judged(InputRole.RUNNER_UP, task.runner_up, task.budget, tell, (end, last))
        if second.verdict.kind is VerdictKind.IMPROVED:
            judged, first_choice = second, judged.verdict.reason
    winner = trial.original if judged.verdict.kind is VerdictKind.NO_GAIN else judged.result
    conversion = trial.verified(winner, task.target)
    report = trial.explained(_report(task.target, judged, conversion, first_choice), judged)
    report = report.model_copy(update={"scenarios": trial.under_load(judged, Stage(tell, last, 1.0, "under load"))})
    kit = request.outputs / kit_name(task.target)
    packed = trial.packed(judged, kit)  # before the winner's file is moved
    return Done(
        result=Delivered(report=report, packed=packed),
        outputs=(
            *_hand_over(winner, task.target, request.outputs),
            MadeFile(name=kit.name, kind=ArtifactKind.KIT, media_type=GZIP),
        ),
    )


@dataclass(frozen=True)
class _Judged:
    """A result and the graph behind it, what was seen of it beside the original, what both decide (None where outputs
    are no decision), and the verdict on it.
    """

    graph: Path
    result: Candidate
    seen: Evidence
    debate: Debate | None
    verdict: Verdict


class Trial:
    """The original, ready for the target with these settings, before which results are judged.

    Its outputs are those of the target in full precision, unless another `yardstick` is given.
    """

    def __init__(
        self,
        request: Request,
        task: OnTarget,
        settings: RuntimeSettings = AS_USUAL,
        yardstick: Target | None = None,
    ) -> None:
        self._request, self._task = request, task
        self._yardstick = yardstick or task.target.in_full
        self._threads = len(cores_for(task.measurement.threads))
        check_scenarios(task.measurement)
        self._source = source_of(request, task)
        self._feed = self._source.feed
        self.original = self._convert(self._source.file, "original", settings)
        self.verified(self.original, self._yardstick)

    def _convert(self, graph: Path, name: str, settings: RuntimeSettings) -> Candidate:
        folder = self._request.scratch / name
        folder.mkdir()
        runtime = runtime_for(self._task.target, settings)
        file = folder / delivered_name(self._task.target)
        runtime.convert(graph, file, ranges_of(self._feed))
        return Candidate(graph, file, runtime.unpack(file, folder), settings)

    def verified(self, side: Candidate, target: Target) -> Conversion:
        """How well a file keeps the graph behind it, run on this target. Raises ResultMismatch.

        The original's is asked in full precision, and in the target's only if it is delivered: a model that bfloat16
        breaks is still what a result for bfloat16 is measured against.
        """
        few = itertools.islice(self._feed.batches(), -(-VERIFIED_SAMPLES // self._feed.batch_size))
        reference = Reference(side.graph, threads=self._threads, optimized=False)
        loaded = runtime_for(target, side.settings).load(side.unpacked, self._threads)
        return verify(reference, loaded, few, tolerance_for(target, side.graph))

    def judged(
        self, role: InputRole, settings: RuntimeSettings, budget: Budget, tell: Tell, progress: tuple[float, float]
    ) -> _Judged:
        """One of the step's inputs, run with these settings; told as this part of the step's progress."""
        graph = self._request.inputs[role]
        result, seen, opinions = self.put_beside(graph, role.replace("_", "-"), settings, tell, progress)
        return _Judged(graph, result, seen, opinions.debate(), judge(budget, seen))

    def put_beside(
        self, graph: Path, name: str, settings: RuntimeSettings, tell: Tell, progress: tuple[float, float]
    ) -> tuple[Candidate, Evidence, Opinions]:
        """The graph in a file, run with these settings beside the original."""
        feed, (start, end) = self._feed, progress
        middle = start + COMPARING * (end - start)
        result = self._convert(graph, name, settings)
        self.verified(result, self._task.target)
        comparing = Stage(tell, start, middle, f"comparing the outputs of the {name}")
        opinions = Opinions(feed, self._source.reading)
        accuracy, fidelity = self._evaluate(result, comparing, opinions)
        measuring = Stage(tell, middle, end, f"measuring the {name}")
        how, scratch = comparing_part(self._task.measurement), self._request.scratch / f"{name}-timing"
        timing = _time(self._contest(result), how, scratch, measuring)
        measuring.at(1.0)
        seen = Evidence(timing.original, timing.result, timing.speedup, accuracy, fidelity, timing.conditions)
        return result, seen, opinions

    def _contest(self, result: Candidate) -> Contest:
        inputs = next(self._feed.batches()).inputs
        original = self.original
        return Contest(self._task.target, original.file, result.file, inputs, result.settings, original.settings)

    def under_load(self, judged: _Judged, stage: Stage) -> tuple[ScenarioReport, ...]:
        """The scenarios of the order; none of them counts for the verdict."""
        contest, how = self._contest(judged.result), self._task.measurement
        return tuple(measure_scenarios(contest, how, self._request.scratch / "loads", stage.at))

    def _evaluate(self, side: Candidate, stage: Stage, opinions: Opinions) -> tuple[Accuracy | None, Fidelity]:
        """Beside the original in full precision: what the target's own precision loses is lost too."""
        feed, target = self._feed, self._task.target
        original = runtime_for(self._yardstick, self.original.settings).load(self.original.unpacked, self._threads)
        result = runtime_for(target, side.settings).load(side.unpacked, self._threads)

        def told(done: int) -> None:
            stage.at(done / feed.count, samples=done)

        return evaluate(original, result, feed, self._source.reading, told, opinions.add)

    def explained(self, report: TargetReport, judged: _Judged) -> TargetReport:
        """With what helps to understand the difference, and does not count for the verdict."""
        graph, feed, scratch = self._source.graph, self._feed, self._request.scratch
        found: dict[str, object] = {"layers": fates(graph, open_model(judged.graph, scratch), feed, scratch)}
        if (debate := judged.debate) is not None:
            found |= {
                "calibration": debate.calibration(),
                "worst": worst_samples(debate, feed),
                "saliency": saliency(graph, judged.graph, debate.decision, feed, scratch),
            }
        return report.model_copy(update=found)

    def packed(self, judged: _Judged, kit: Path) -> tuple[PackedFile, ...]:
        """Write all that it takes to repeat the measurement, but for the manifest."""
        few = few_enough(self._feed)
        agreement = self._source.agreement(self._task.target, judged.result.settings, few, self._threads)
        return pack(Pair(self.original.file, judged.result.file), agreement, few, kit, self._request.scratch)


def source_of(request: Request, task: OnTarget) -> Source:
    """Raises: what the importers raise, BatchFixed, DatasetMismatch."""
    graph = open_model(request.inputs[InputRole.MODEL], request.scratch)
    feed = Feed(graph.inputs, task.measurement.batch_size, task.input_shapes, given_samples(request))
    feed.check()
    path = request.scratch / "original.onnx"
    graph.save(path)
    return Source(path, feed, graph, reading_of(graph, task.preset.metric))


def _time(contest: Contest, how: Measurement, scratch: Path, stage: Stage) -> Timing:
    return measure(contest, how, scratch, lambda share, speedup: stage.at(share, speedup=speedup))


def _hand_over(winner: Candidate, target: Target, outputs: Path) -> Iterator[MadeFile]:
    """The file of the winner, and beside it how it must be loaded, where that is not as usual."""
    shutil.move(winner.file, outputs / winner.file.name)
    yield MadeFile(name=winner.file.name, kind=ArtifactKind.MODEL, media_type=runtime_for(target).media_type)
    if winner.settings != AS_USUAL:
        file = outputs / f"{winner.file.stem}.settings.json"
        file.write_text(winner.settings.model_dump_json(indent=2, exclude_none=True))
        yield MadeFile(name=file.name, kind=ArtifactKind.SETTINGS, media_type="application/json")
    file = outputs / f"{winner.file.stem}.toolchain.cdx.json"
    file.write_text(toolchain(toolkit_of(target)))
    yield MadeFile(name=file.name, kind=ArtifactKind.TOOLCHAIN, media_type=CYCLONEDX)


def _report(target: Target, judged: _Judged, conversion: Conversion, first_choice: str | None) -> TargetReport:
    seen = judged.seen
    return TargetReport(
        target=target,
        settings=judged.result.settings,
        verdict=judged.verdict,
        first_choice=first_choice,
        original=seen.original,
        result=seen.result,
        speedup=seen.speedup,
        size_ratio=seen.original.size / seen.result.size,
        accuracy=seen.accuracy,
        fidelity=seen.fidelity,
        conversion=conversion,
        conditions=seen.conditions,
        environment=describe(target),
    )
