"""The `optimize` step: run the passes of a recipe, keep a checkpoint after each, hand over the last graph."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from whetstone.contract.datasets import Split
from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.passes import Pass
from whetstone.contract.reports import PassReport
from whetstone.contract.statistics import CalibrationStatistics
from whetstone.contract.steps import InputRole, Optimize, Optimized
from workers.engine.data.fit import fitting_samples
from workers.engine.data.samples import Samples
from workers.engine.data.statistics import read_statistics
from workers.engine.graph.graph import Graph
from workers.engine.importers.detect import open_model
from workers.engine.measure.feed import Feed
from workers.engine.measure.layers import noise_of
from workers.engine.outcome import pass_report, saved
from workers.engine.passes.errors import NeedsDataset, NeedsModel
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.sequence import make
from workers.engine.request import Done, LearningSaved, MadeFile, Message, PassDone, Progress, Request
from workers.engine.training.keeping import Keeper, Write
from workers.engine.training.trouble import LearningStopped

SAFETENSORS = "application/octet-stream"
RESULT, BEST = "model.onnx", "best-so-far.onnx"


Tell = Callable[[Message], None]


def cores() -> int:
    """How many cores this process may use; the sandbox may have left it fewer than there are."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Stage:
    """One pass among the others, and whom it tells."""

    index: int
    count: int
    config: Pass
    tell: Tell

    def progress(self, share: float, message: str, metrics: dict[str, float]) -> None:
        """Turn a pass's own progress into that of the step."""
        fraction = min((self.index + share) / self.count, 1.0)
        self.tell(Progress(fraction=fraction, message=f"{self.config.kind}: {message}"[:500], metrics=metrics))


def _keeper(stage: Stage, request: Request, every: int) -> Keeper:
    """Keeps states of learning as outputs, each under its own name: it may be on its way when the next comes."""

    def save(steps: int, write: Write) -> None:
        name = f"learning-{stage.index + 1}-{steps}.safetensors"
        write(request.outputs / name)
        file = MadeFile(name=name, kind=ArtifactKind.LEARNING_STATE, media_type=SAFETENSORS)
        stage.tell(LearningSaved(file=file))

    return Keeper(f"pass {stage.index}", every, save, request.inputs.get(InputRole.LEARNING_STATE))


def _model(request: Request, role: InputRole) -> Graph:
    if role not in request.inputs:
        raise NeedsModel(f"The step has no {role} model.")
    return open_model(request.inputs[role], request.scratch)


def _source(request: Request, graph: Graph) -> Samples:
    found = fitting_samples(request, graph.inputs, InputRole.SOURCE)
    if found is None or not found.has(Split.TRAIN):
        raise NeedsDataset("The dataset of the source domain has no train split.", hint="Name its arrays 'train/…'.")
    return found


def _statistics(request: Request) -> CalibrationStatistics | None:
    path = request.inputs.get(InputRole.CALIBRATION)
    return None if path is None else read_statistics(path)


def context_for(stage: Stage, request: Request, batch_size: int) -> Context:
    """What a pass may use of the step."""
    return Context(
        request.scratch,
        cores(),
        stage.progress,
        model=lambda role: _model(request, role),
        source=lambda graph: _source(request, graph),
        keeper=lambda every: _keeper(stage, request, every),
        batch_size=batch_size,
    )


def _rescue(stopped: LearningStopped, request: Request) -> None:
    """Hand over the best weights that there were before learning came to an end, as a model."""
    if stopped.best is not None:
        file, _ = saved(stopped.best, request.outputs, BEST, ArtifactKind.MODEL)
        stopped.outputs = (file,)
        stopped.advice = f"{stopped.advice or ''} The best weights until then are kept as '{BEST}'.".strip()


def _run_pass(
    stage: Stage, graph: Graph, samples: Samples | None, request: Request, batch_size: int
) -> tuple[Graph, PassReport, MadeFile]:
    stage.progress(0.0, "started", {})
    started = time.monotonic()
    try:
        context = context_for(stage, request, batch_size)
        outcome = make(stage.config, _statistics(request)).apply(graph, samples, context)
    except LearningStopped as stopped:
        _rescue(stopped, request)
        raise
    seconds = time.monotonic() - started
    name = f"checkpoint-{stage.index + 1}.onnx"
    file, size = saved(outcome.graph, request.outputs, name, ArtifactKind.CHECKPOINT)
    report = pass_report(stage.index, stage.config, outcome, seconds, size)
    feed = Feed(graph.inputs, batch_size, {}, samples)
    noise = noise_of(graph, outcome.graph, feed, request.scratch)
    return outcome.graph, report.model_copy(update={"noise": noise}), file


def optimize(request: Request, task: Optimize, tell: Tell) -> Done:
    """Run the passes that are not done yet, from the checkpoint or the original.

    Tells of progress, and of each pass with its checkpoint file. Raises EngineError.
    """
    start = request.inputs[InputRole.CHECKPOINT if task.done else InputRole.MODEL]
    graph = open_model(start, request.scratch)
    samples = fitting_samples(request, graph.inputs)
    reports = list(task.done)
    for index in range(len(reports), len(task.passes)):
        stage = Stage(index, len(task.passes), task.passes[index], tell)
        graph, report, file = _run_pass(stage, graph, samples, request, task.batch_size)
        reports.append(report)
        tell(PassDone(passes=tuple(reports), file=file))
    result, _ = saved(graph, request.outputs, RESULT, ArtifactKind.MODEL)
    return Done(result=Optimized(passes=tuple(reports)), outputs=(result,))
