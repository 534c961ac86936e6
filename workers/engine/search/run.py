"""The `search` step: propose, try, keep the best of each target, until the limit is reached or nothing is left."""

import shutil
import time
from collections.abc import Callable, Iterator

from whetstone.contract.datasets import Split
from whetstone.contract.jobs import ArtifactKind, Objective
from whetstone.contract.reports import SearchSummary
from whetstone.contract.search import Ended
from whetstone.contract.steps import Contender, InputRole, Searched, SearchRecipe, Winner
from whetstone.contract.targets import AS_USUAL, Target
from whetstone.contract.trials import Mark, Proposal, Score, Trial
from workers.engine.data.fit import fitting_samples
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.graph.reasons import reason_of
from workers.engine.importers.detect import open_model
from workers.engine.measure.feed import Feed
from workers.engine.measure.latency import cores_for
from workers.engine.measure.verdict import allowed_drop
from workers.engine.outcome import ONNX, saved
from workers.engine.report.wording import recipe as in_words
from workers.engine.request import Done, Log, MadeFile, Message, Progress, Request, Tried, Trying
from workers.engine.search.board import Board
from workers.engine.search.front import least, overrun, value
from workers.engine.search.keeping import Best, Kept, Place
from workers.engine.search.kitchen import Kitchen, Made
from workers.engine.search.known import Known
from workers.engine.search.learned import Lessons
from workers.engine.search.prior import Prior
from workers.engine.search.runtime import applies
from workers.engine.search.space import proposals
from workers.engine.search.trial import Bench
from workers.engine.targets.processor import OtherWork, usable_cores

Tell = Callable[[Message], None]
LEAST_SECONDS = 60.0
LONGEST_SHARE = 0.5
"""What one candidate may take: so much of the whole limit, or a minute where that is less, and no more than is left."""

SLACK = 1.1
"""How far a brief timing may be off: what comes so near to the best so far is looked at in full."""

TWO_CLASSES = 2


def search(request: Request, task: SearchRecipe, tell: Tell) -> Done:
    """The best recipe found for each target, and all that was tried. Raises EngineError only for what no recipe could
    mend: a model or a dataset that cannot be used at all.
    """
    return _Search(request, task, tell).run()


class _Search:
    """The loop: stops by itself at the limit, and can be stopped anywhere without losing its best."""

    def __init__(self, request: Request, task: SearchRecipe, tell: Tell) -> None:
        self._began, self._others = time.monotonic(), OtherWork(usable_cores())
        self._request, self._task, self._tell = request, task, tell
        self._board = Board(task.budget, task.targets, task.tried)
        self._folder = request.scratch / "search"
        self._best = Best(self._folder / "best", request.inputs.get(InputRole.CHECKPOINT))

    def run(self) -> Done:
        original = open_model(self._request.inputs[InputRole.MODEL], self._request.scratch)
        ended = self._task.stop or self._look_for_better(original)
        done = self._done(original, ended)
        shutil.rmtree(self._folder)
        return done

    def _look_for_better(self, original: Graph) -> Ended:
        known = self._set_up(original)
        for proposal in proposals(known):
            if proposal in self._board:
                continue
            if ended := self._over():
                self._tell(Log(line=f"The limit was reached after {len(self._board)} trials."))
                return ended
            self._try(proposal)
        return Ended.EXHAUSTED

    def _set_up(self, original: Graph) -> Known:
        """Open what candidates are tried on: the samples, and the original in every target."""
        task = self._task
        samples = fitting_samples(self._request, original.inputs)
        feed = Feed(original.inputs, task.measurement.batch_size, task.input_shapes, samples, Split.CALIBRATION)
        feed.check()
        cores = cores_for(task.measurement.threads)
        self._benches = self._set_up_targets(original, feed, cores)
        self._kitchen = Kitchen(original, samples, self._folder / "kitchen", len(cores), task.measurement.batch_size)
        free = task.measurement.threads is None or task.budget.objective is Objective.THROUGHPUT
        return Known(
            lambda recipe: self._kitchen.make(recipe, self._say).graph,
            self._board,
            has_data=samples is not None,
            cores=len(cores) if free else 1,
            lessons=self._lessons(samples),
            preset=task.preset,
            order=Prior(task.history, task.budget.objective, allowed_drop(task.budget, None)),
        )

    def _set_up_targets(self, original: Graph, feed: Feed, cores: tuple[int, ...]) -> dict[Target, Bench]:
        """A target that cannot run the original is left out, and its own step says why. If none can: raises."""
        task, benches = self._task, dict[Target, Bench]()
        failure: Exception | None = None
        for target in task.targets:
            try:
                benches[target] = Bench(target, original, feed, task.budget, cores, self._folder, task.preset.metric)
            except Exception as error:  # noqa: BLE001 - whatever a runtime says; the others may do well
                self._tell(Log(line=f"{target} cannot run the original: {reason_of(error)}"[:2000]))
                failure = error
        if failure is not None and not benches:
            raise failure
        return benches

    def _lessons(self, samples: Samples | None) -> Lessons | None:
        if samples is None or not samples.has(Split.TRAIN):
            return None
        classes = samples.facts().classes or 0
        labelled = samples.has_labels(Split.TRAIN) and classes > TWO_CLASSES
        return Lessons(
            classes=labelled,
            seconds=60 * self._task.limit.minutes,
            batch_size=self._task.measurement.batch_size,
            augment=self._task.preset.augment,
        )

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
        marks = tuple(self._mark(bench, proposal, made) for bench in self._benches_for(proposal))
        self._note(Trial(proposal=proposal, marks=marks, seconds=time.monotonic() - began), made)

    def _benches_for(self, proposal: Proposal) -> list[Bench]:
        settings = proposal.settings or AS_USUAL
        return [bench for target, bench in self._benches.items() if applies(target, settings)]

    def _mark(self, bench: Bench, proposal: Proposal, made: Made) -> Mark:
        target = bench.target
        settings = self._board.settings(target) if proposal.settings is None else proposal.settings
        try:
            score = bench.score(made.graph, settings, lambda brief: self._is_hopeful(target, brief))
        except Exception as error:  # noqa: BLE001 - a runtime says in a dozen ways that it cannot run a graph
            return Mark(target=target, settings=settings, failed=reason_of(error))
        return Mark(target=target, settings=settings, score=score)

    def _is_hopeful(self, target: Target, brief: Score) -> bool:
        """Whether a second, closer look could make this the best of the target."""
        budget, best = self._task.budget, self._board.best(target)
        reached = SLACK * value(brief, budget.objective)
        if best is None:
            return reached > least(budget.objective)
        so_far = self._board.scores(target)[best]
        return reached > value(so_far, budget.objective) or overrun(brief, budget) < overrun(so_far, budget)

    def _note(self, trial: Trial, made: Made | None = None) -> None:
        self._board.add(trial)
        improved = [(mark, place) for mark in trial.marks for place in self._places(mark.target, trial.proposal)]
        best = self._keep(trial.proposal, made, improved) if made and improved else None
        self._tell(Tried(trial=trial, spent=self._spent, best=best))

    def _places(self, target: Target, proposal: Proposal) -> Iterator[Place]:
        """Those that a candidate which was just tried takes."""
        if self._board.best(target) == proposal:
            yield Place.BEST
        if self._board.safe(target) == proposal:
            yield Place.SAFE

    def _keep(self, proposal: Proposal, made: Made, improved: list[tuple[Mark, Place]]) -> MadeFile:
        number = len(self._board)
        path = self._folder / f"best-{number}.onnx"
        made.graph.save(path)
        for mark, place in improved:
            kept = Kept(
                target=mark.target,
                place=place,
                settings=mark.settings,
                proposal=proposal,
                file=path.name,
                passes=made.passes,
            )
            self._best.put(path, kept)
        path.unlink()
        return self._best.pack(self._request.outputs / f"best-{number}.zip")

    def _say(self, message: str) -> None:
        metrics = {"trials": float(len(self._board))}
        for target in self._task.targets:
            best = self._board.best(target)
            if best is not None:
                metrics[f"{target} speed-up"] = self._board.scores(target)[best].speedup
        self._tell(Progress(fraction=self._share(), message=message[:500], metrics=metrics))

    def _done(self, original: Graph, ended: Ended) -> Done:
        files: dict[str, MadeFile] = {}
        winners = tuple(self._winner(target, original, files) for target in self._task.targets)
        kept = {target: self._best.of(target) for target in self._task.targets}
        chosen = {target: best.proposal if best else None for target, best in kept.items()}
        summary = SearchSummary(
            ended=ended,
            trials=len(self._board),
            crashed=self._board.crashed,
            seconds=self._spent,
            misses=tuple(self._board.misses()),
            disturbed=min(1.0, self._others.share()),
        )
        candidates = tuple(self._board.candidates(chosen))
        result = Searched(candidates=candidates, winners=winners, summary=summary)
        return Done(result=result, outputs=tuple(files.values()))

    def _winner(self, target: Target, original: Graph, files: dict[str, MadeFile]) -> Winner:
        best, safe = (self._best.of(target, place) for place in (Place.BEST, Place.SAFE))
        first = self._contender(best, original, files)
        differs = best is not None and safe is not None and safe.proposal != best.proposal
        second = self._contender(safe, original, files) if differs else None
        return Winner(target=target, settings=first.settings, file=first.file, passes=first.passes, runner_up=second)

    def _contender(self, kept: Kept | None, original: Graph, files: dict[str, MadeFile]) -> Contender:
        """`files` are those handed over so far, by the name under which they were kept; the original's is empty."""
        source = kept.file if kept else ""
        if source not in files:
            files[source] = self._hand_over(kept, original, f"result-{len(files) + 1}.onnx")
        if kept is None:
            return Contender(file=files[source].name, passes=())
        return Contender(settings=kept.settings, file=files[source].name, passes=kept.passes)

    def _hand_over(self, kept: Kept | None, original: Graph, name: str) -> MadeFile:
        if kept is None:
            return saved(original, self._request.outputs, name, ArtifactKind.MODEL)[0]
        shutil.copyfile(self._best.path(kept), self._request.outputs / name)
        return MadeFile(name=name, kind=ArtifactKind.MODEL, media_type=ONNX)
