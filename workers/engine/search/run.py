"""The `search` step: propose, try, keep the best of each target, until the limit is reached or nothing is left."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from whetstone.contract.datasets import Split
from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.passes import Pass
from whetstone.contract.reports import Candidate, PassReport
from whetstone.contract.steps import InputRole, Searched, SearchRecipe, Winner
from whetstone.contract.targets import Target
from workers.engine.data.fit import fitting_samples
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.graph.reasons import reason_of
from workers.engine.importers.detect import open_model
from workers.engine.measure.feed import Feed
from workers.engine.measure.latency import cores_for
from workers.engine.outcome import saved
from workers.engine.report.wording import recipe as in_words
from workers.engine.request import Done, Log, MadeFile, Message, Progress, Request
from workers.engine.search.front import Score, best, front, reason
from workers.engine.search.space import Known, proposals
from workers.engine.search.trial import Bench, Kitchen, Made

Tell = Callable[[Message], None]
Recipe = tuple[Pass, ...]
ORIGINAL: Recipe = ()


@dataclass
class Tried:
    """What became of one recipe on one target. `score` is None where it failed, with the reason in `failed`."""

    recipe: Recipe
    score: Score | None
    failed: str = ""


@dataclass
class Board:
    """All that was tried on one target, and the best of it so far."""

    bench: Bench
    tried: list[Tried] = field(default_factory=list)
    best: Tried | None = None
    winner: Made | None = None


def search(request: Request, task: SearchRecipe, tell: Tell) -> Done:
    """The best recipe found for each target, and all that was tried. Raises EngineError only for what no recipe could
    mend: a model or a dataset that cannot be used at all.
    """
    original = open_model(request.inputs[InputRole.MODEL], request.scratch)
    samples = fitting_samples(request.inputs.get(InputRole.DATASET), request.scratch, original.inputs)
    threads = len(cores_for(task.measurement.threads))
    feed = Feed(original.inputs, task.measurement.batch_size, task.input_shapes, samples, Split.CALIBRATION)
    feed.check()
    folder = request.scratch / "search"
    boards = [Board(Bench(target, original, feed, threads, folder)) for target in task.targets]
    kitchen = Kitchen(original, samples, request.scratch, threads)
    _Search(task, original, samples, kitchen, boards, tell).run()
    shutil.rmtree(folder)
    return _done(request, task, original, boards)


class _Search:
    """The loop: stops by itself at the limit, and can be stopped anywhere without losing its best."""

    def __init__(
        self,
        task: SearchRecipe,
        original: Graph,
        samples: Samples | None,
        kitchen: Kitchen,
        boards: list[Board],
        tell: Tell,
    ) -> None:
        self._task, self._kitchen, self._boards, self._tell = task, kitchen, boards, tell
        self._known = Known(
            original, samples is not None, task.budget.objective, task.budget.max_drop, lossy=self._is_lossy
        )
        self._began, self._trials = time.monotonic(), 0

    def run(self) -> None:
        for recipe in proposals(self._known):
            if self._share() >= 1:
                self._tell(Log(line=f"The limit was reached after {self._trials} trials."))
                return
            self._try(recipe)
            self._trials += 1

    def _share(self) -> float:
        limit = self._task.limit
        return max((time.monotonic() - self._began) / (60 * limit.minutes), self._trials / limit.trials)

    def _is_lossy(self, recipe: Recipe) -> bool:
        scores = [tried.score for board in self._boards for tried in board.tried if tried.recipe == recipe]
        return any(score is None or score.lost > self._task.budget.max_drop for score in scores)

    def _try(self, recipe: Recipe) -> None:
        name = in_words(recipe)
        self._say(name)
        try:
            made = self._kitchen.make(recipe, lambda message: self._say(f"{name}: {message}"))
        except EngineError as error:
            for board in self._boards:
                board.tried.append(Tried(recipe, None, str(error)))
            return
        for board in self._boards:
            self._measure(board, recipe, made)

    def _measure(self, board: Board, recipe: Recipe, made: Made) -> None:
        try:
            tried = Tried(recipe, board.bench.score(made.graph))
        except Exception as error:  # noqa: BLE001 - a runtime says in a dozen ways that it cannot run a graph
            tried = Tried(recipe, None, reason_of(error))
        board.tried.append(tried)
        scored = [one for one in board.tried if one.score is not None]
        index = best([one.score for one in scored if one.score is not None], self._task.budget)
        if index is not None and scored[index] is tried:
            board.best, board.winner = tried, made

    def _say(self, message: str) -> None:
        metrics = {"trials": float(self._trials)}
        for board in self._boards:
            if board.best is not None and board.best.score is not None:
                metrics[f"{board.bench.target} speed-up"] = board.best.score.speedup
        self._tell(Progress(fraction=min(self._share(), 1.0), message=message[:500], metrics=metrics))


def _done(request: Request, task: SearchRecipe, original: Graph, boards: list[Board]) -> Done:
    files: dict[Recipe, MadeFile] = {}
    winners = []
    for board in boards:
        recipe = board.best.recipe if board.best else ORIGINAL
        graph = board.winner.graph if board.winner else original
        if recipe not in files:
            files[recipe], _ = saved(graph, request.outputs, f"result-{len(files) + 1}.onnx", ArtifactKind.MODEL)
        passes: tuple[PassReport, ...] = board.winner.passes if board.winner else ()
        winners.append(Winner(target=board.bench.target, file=files[recipe].name, passes=passes))
    candidates = tuple(candidate for board in boards for candidate in _candidates(board, task))
    return Done(result=Searched(candidates=candidates, winners=tuple(winners)), outputs=tuple(files.values()))


def _candidates(board: Board, task: SearchRecipe) -> list[Candidate]:
    scores = [tried.score for tried in board.tried if tried.score is not None]
    on_front = iter(front(scores))
    return [_candidate(board, tried, task, next(on_front) if tried.score else False) for tried in board.tried]


def _candidate(board: Board, tried: Tried, task: SearchRecipe, is_front: bool) -> Candidate:  # noqa: FBT001 - a fact of the candidate
    score, chosen, target = tried.score, tried is board.best, board.bench.target
    if score is None:
        because = f"Could not be tried: {tried.failed}"
        return Candidate(
            recipe=tried.recipe, target=target, lost=None, speedup=None, size_ratio=None, front=False, chosen=False,
            because=because,
        )  # fmt: skip
    return Candidate(
        recipe=tried.recipe,
        target=Target(target),
        lost=score.lost,
        speedup=score.speedup,
        size_ratio=score.size_ratio,
        front=is_front,
        chosen=chosen,
        because=reason(score, task.budget, chosen=chosen, on_front=is_front),
    )
