"""The `search` step: propose, try, keep the best of each target, until the limit is reached or nothing is left."""

import shutil
import time
from collections.abc import Callable

from whetstone.contract.datasets import Split
from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.reports import SearchSummary
from whetstone.contract.search import Ended
from whetstone.contract.steps import InputRole, Searched, SearchRecipe, Winner
from whetstone.contract.targets import Target
from whetstone.contract.trials import Mark, Proposal, Trial
from workers.engine.data.fit import fitting_samples
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.graph.reasons import reason_of
from workers.engine.importers.detect import open_model
from workers.engine.measure.feed import Feed
from workers.engine.measure.latency import cores_for
from workers.engine.outcome import ONNX, saved
from workers.engine.report.wording import recipe as in_words
from workers.engine.request import Done, Log, MadeFile, Message, Progress, Request, Tried, Trying
from workers.engine.search.board import Board
from workers.engine.search.keeping import Best, Kept
from workers.engine.search.space import Known, proposals
from workers.engine.search.trial import Bench, Kitchen, Made

Tell = Callable[[Message], None]
LEAST_SECONDS = 60.0
LONGEST_SHARE = 0.5
"""What one candidate may take: so much of the whole limit, or a minute where that is less, and no more than is left."""


def search(request: Request, task: SearchRecipe, tell: Tell) -> Done:
    """The best recipe found for each target, and all that was tried. Raises EngineError only for what no recipe could
    mend: a model or a dataset that cannot be used at all.
    """
    return _Search(request, task, tell).run()


class _Search:
    """The loop: stops by itself at the limit, and can be stopped anywhere without losing its best."""

    def __init__(self, request: Request, task: SearchRecipe, tell: Tell) -> None:
        self._began = time.monotonic()
        self._request, self._task, self._tell = request, task, tell
        self._board = Board(task.budget, task.tried)
        self._folder = request.scratch / "search"
        self._best = Best(self._folder / "best", request.inputs.get(InputRole.CHECKPOINT))

    def run(self) -> Done:
        original = open_model(self._request.inputs[InputRole.MODEL], self._request.scratch)
        ended = self._task.stop or self._look_for_better(original)
        done = self._done(original, ended)
        shutil.rmtree(self._folder)
        return done

    def _look_for_better(self, original: Graph) -> Ended:
        task = self._task
        samples = fitting_samples(self._request.inputs.get(InputRole.DATASET), self._request.scratch, original.inputs)
        threads = len(cores_for(task.measurement.threads))
        self._benches = self._set_up(original, samples, threads)
        self._kitchen = Kitchen(original, samples, self._request.scratch, threads)
        known = Known(original, samples is not None, task.budget.objective, task.budget.max_drop, lossy=self._is_lossy)
        for recipe in proposals(known):
            proposal = Proposal(recipe=recipe)
            if proposal in self._board:
                continue
            if ended := self._over():
                self._tell(Log(line=f"The limit was reached after {len(self._board)} trials."))
                return ended
            self._try(proposal)
        return Ended.EXHAUSTED

    def _set_up(self, original: Graph, samples: Samples | None, threads: int) -> dict[Target, Bench]:
        task = self._task
        feed = Feed(original.inputs, task.measurement.batch_size, task.input_shapes, samples, Split.CALIBRATION)
        feed.check()
        return {target: Bench(target, original, feed, threads, self._folder) for target in task.targets}

    @property
    def _spent(self) -> float:
        return self._task.spent + time.monotonic() - self._began

    def _over(self) -> Ended | None:
        if len(self._board) >= self._task.limit.trials:
            return Ended.TRIALS
        return Ended.MINUTES if self._spent >= 60 * self._task.limit.minutes else None

    def _share(self) -> float:
        limit = self._task.limit
        return min(1.0, max(self._spent / (60 * limit.minutes), len(self._board) / limit.trials))

    def _is_lossy(self, recipe: tuple[object, ...]) -> bool:
        trial = self._board.trial(Proposal(recipe=recipe))
        if trial is None:
            return False
        scores = [mark.score for mark in trial.marks]
        lossy = any(score is None or score.lost > self._task.budget.max_drop for score in scores)
        return lossy or trial.failed is not None

    def _allowed(self) -> float:
        """How long the next candidate may take, in seconds: one that hangs must not use up the time of the others."""
        whole = 60 * self._task.limit.minutes
        return min(max(LEAST_SECONDS, LONGEST_SHARE * whole), max(0.0, whole - self._spent))

    def _try(self, proposal: Proposal) -> None:
        """Says so before: if this candidate takes the process with it, the next one must know which it was."""
        self._tell(Trying(proposal=proposal, allowed=self._allowed(), spent=self._spent))
        name, began = in_words(proposal.recipe), time.monotonic()
        self._say(name)
        try:
            made = self._kitchen.make(proposal.recipe, lambda message: self._say(f"{name}: {message}"))
        except EngineError as error:
            self._note(Trial(proposal=proposal, seconds=time.monotonic() - began, failed=str(error)))
            return
        marks = tuple(self._mark(bench, made) for bench in self._benches.values())
        self._note(Trial(proposal=proposal, marks=marks, seconds=time.monotonic() - began), made)

    def _mark(self, bench: Bench, made: Made) -> Mark:
        try:
            return Mark(target=bench.target, score=bench.score(made.graph))
        except Exception as error:  # noqa: BLE001 - a runtime says in a dozen ways that it cannot run a graph
            return Mark(target=bench.target, failed=reason_of(error))

    def _note(self, trial: Trial, made: Made | None = None) -> None:
        self._board.add(trial)
        number = len(self._board)
        improved = [target for target in self._benches if self._board.best(target) == trial.proposal]
        if made is None or not improved:
            self._tell(Tried(trial=trial, spent=self._spent))
            return
        path = self._folder / f"best-{number}.onnx"
        made.graph.save(path)
        for target in improved:
            self._best.put(path, Kept(target=target, proposal=trial.proposal, file=path.name, passes=made.passes))
        path.unlink()
        packed = self._best.pack(self._request.outputs / f"best-{number}.zip")
        self._tell(Tried(trial=trial, spent=self._spent, best=packed))

    def _say(self, message: str) -> None:
        metrics = {"trials": float(len(self._board))}
        for target in self._task.targets:
            best = self._board.best(target)
            if best is not None:
                metrics[f"{target} speed-up"] = self._board.scores(target)[best].speedup
        self._tell(Progress(fraction=self._share(), message=message[:500], metrics=metrics))

    def _done(self, original: Graph, ended: Ended) -> Done:
        files: dict[str, MadeFile] = {}
        winners = []
        for target in self._task.targets:
            kept = self._best.of(target)
            source = kept.file if kept else ""
            if source not in files:
                name = f"result-{len(files) + 1}.onnx"
                files[source] = self._hand_over(kept, original, name)
            winners.append(Winner(target=target, file=files[source].name, passes=kept.passes if kept else ()))
        chosen = {target: kept.proposal if (kept := self._best.of(target)) else None for target in self._task.targets}
        summary = SearchSummary(ended=ended, trials=len(self._board), crashed=self._board.crashed, seconds=self._spent)
        candidates = tuple(self._board.candidates(self._task.targets, chosen))
        result = Searched(candidates=candidates, winners=tuple(winners), summary=summary)
        return Done(result=result, outputs=tuple(files.values()))

    def _hand_over(self, kept: Kept | None, original: Graph, name: str) -> MadeFile:
        if kept is None:
            return saved(original, self._request.outputs, name, ArtifactKind.MODEL)[0]
        shutil.copyfile(self._best.path(kept), self._request.outputs / name)
        return MadeFile(name=name, kind=ArtifactKind.MODEL, media_type=ONNX)
