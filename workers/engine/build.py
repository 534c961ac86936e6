"""The last step for a target that is only built: build the engine, and judge the graph behind it on the CPU."""

import itertools
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.reports import BuiltReport, VerdictKind
from whetstone.contract.steps import Deliver, Delivered, InputRole, PackedFile
from whetstone.contract.targets import AS_USUAL, Target, toolkit_of
from workers.engine.bundle.assemble import GZIP, kit_name
from workers.engine.bundle.kit import Pair, few_enough, pack
from workers.engine.deliver import CYCLONEDX, Source, Stage, source_of
from workers.engine.importers.detect import open_model
from workers.engine.measure.environment import describe
from workers.engine.measure.evaluation import evaluate
from workers.engine.measure.latency import cores_for
from workers.engine.measure.layers import fates
from workers.engine.measure.toolchain import toolchain
from workers.engine.measure.verdict import judge_built
from workers.engine.request import Done, MadeFile, Message, Request
from workers.engine.targets.builder import Builder, Built
from workers.engine.targets.choose import delivered_name, runtime_for, stem_of
from workers.engine.targets.shape_ranges import ranges_of

FALLBACK = Target.ONNXRUNTIME_CPU
"""Where the graph runs that an engine was built from."""

CARD = {"target", "key", "shapes"}
"""What of the report goes beside the engine: what it fits, and the shapes that it takes."""

LAYERS = 500
"""Kernels that are listed one by one; all of them are counted."""


@dataclass(frozen=True)
class _Engine:
    file: Path
    graph: Path
    built: Built


def build(request: Request, task: Deliver, builder: Builder, tell: Callable[[Message], None]) -> Done:
    """Write the engine into `request.outputs`, with the graph that it was built from, for where no such device is.

    Where the graph gave away too much both are of the original; the report still describes the graph.

    Raises: what the importers raise, and OperatorRefused, TargetBuildFailed, ToolkitMissing, BatchFixed,
        DatasetMismatch, ShapesDiffer, NotFinite, TooManyThreads.
    """
    stage = Stage(tell, 0.0, 0.4, f"building for {task.target}")
    workshop = _Workshop(request, task, builder)
    engine = workshop.engine(workshop.result)
    stage.at(1.0)
    report = workshop.report(engine, Stage(tell, 0.4, 0.9, "comparing the outputs of its graph on the CPU"))
    if report.verdict.kind is VerdictKind.NO_GAIN:
        engine = workshop.engine(workshop.original)
        report = report.model_copy(update=_facts(engine))
    kit = request.outputs / kit_name(task.target)
    packed = workshop.packed(engine, report, kit)
    handed_over = _hand_over(engine, report, request.outputs)
    kept = MadeFile(name=kit.name, kind=ArtifactKind.KIT, media_type=GZIP)
    return Done(result=Delivered(report=report, packed=packed), outputs=(*handed_over, kept))


class _Workshop:
    """The original and the result as single ONNX files, what both are fed, and what builds engines of them."""

    def __init__(self, request: Request, task: Deliver, builder: Builder) -> None:
        self._request, self._task, self._builder = request, task, builder
        self._source: Source = source_of(request, task)
        self._shapes = ranges_of(self._source.feed)
        self._threads = len(cores_for(task.measurement.threads))
        self.original = self._graph(self._source.file, "original")
        self.result = self._graph(request.inputs[InputRole.RESULT], "result")

    def _graph(self, given: Path, name: str) -> Path:
        folder = self._request.scratch / name
        folder.mkdir()
        file = folder / delivered_name(FALLBACK)
        runtime_for(FALLBACK).convert(given, file)
        return file

    def engine(self, graph: Path) -> _Engine:
        file = graph.with_name(delivered_name(self._task.target))
        return _Engine(file, graph, self._builder.build(graph, file, self._shapes, self._request.scratch))

    def report(self, engine: _Engine, stage: Stage) -> BuiltReport:
        task, feed, scratch = self._task, self._source.feed, self._request.scratch
        original, result = (runtime_for(FALLBACK).load(file, self._threads) for file in (self.original, engine.graph))
        accuracy, fidelity = evaluate(
            original, result, feed, self._source.reading, lambda done: stage.at(done / feed.count, samples=done)
        )
        environment = describe(FALLBACK)
        versions = environment.versions | {engine.built.key.runtime: engine.built.key.version}
        return BuiltReport.model_validate(
            _facts(engine)
            | {
                "target": task.target,
                "verdict": judge_built(task.budget, engine.file.stat().st_size, accuracy, fidelity),
                "shapes": self._shapes,
                "accuracy": accuracy,
                "fidelity": fidelity,
                "environment": environment.model_copy(update={"versions": versions}),
                "layers": fates(self._source.graph, open_model(engine.graph, scratch), feed, scratch),
            }
        )

    def packed(self, engine: _Engine, report: BuiltReport, kit: Path) -> tuple[PackedFile, ...]:
        """The bundle repeats what can be repeated: the graphs in onnxruntime. The engine lies beside them."""
        few = few_enough(self._source.feed)
        agreement = self._source.agreement(FALLBACK, AS_USUAL, few, self._threads)
        card = self._request.scratch / "engine.json"
        card.write_text(_card(report))
        beside = {f"engine/{engine.file.name}": engine.file, "engine/engine.json": card}
        return pack(
            Pair(self.original, self.result),
            agreement,
            few,
            kit,
            self._request.scratch,
            beside,
            toolkit_of(self._task.target),
        )


def _facts(engine: _Engine) -> dict[str, object]:
    """What a report tells of the engine itself."""
    built = engine.built
    return {
        "key": built.key,
        "size": engine.file.stat().st_size,
        "graph_size": engine.graph.stat().st_size,
        "build_seconds": built.seconds,
        "kernels": tuple(itertools.islice(built.kernels, LAYERS)),
        "precisions": dict(Counter(kernel.precision for kernel in built.kernels).most_common()),
        "notes": built.notes,
    }


def _card(report: BuiltReport) -> str:
    return report.model_dump_json(include=CARD, indent=2) + "\n"


def _hand_over(engine: _Engine, report: BuiltReport, outputs: Path) -> tuple[MadeFile, ...]:
    stem = stem_of(report.target)
    shutil.copyfile(engine.file, outputs / engine.file.name)
    shutil.copyfile(engine.graph, outputs / f"{stem}{engine.graph.suffix}")
    (outputs / f"{stem}.settings.json").write_text(_card(report))
    (outputs / f"{stem}.toolchain.cdx.json").write_text(toolchain(toolkit_of(report.target)))
    binary = runtime_for(FALLBACK).media_type
    return (
        MadeFile(name=engine.file.name, kind=ArtifactKind.MODEL, media_type=binary),
        MadeFile(name=f"{stem}{engine.graph.suffix}", kind=ArtifactKind.MODEL, media_type=binary),
        MadeFile(name=f"{stem}.settings.json", kind=ArtifactKind.SETTINGS, media_type="application/json"),
        MadeFile(name=f"{stem}.toolchain.cdx.json", kind=ArtifactKind.TOOLCHAIN, media_type=CYCLONEDX),
    )
