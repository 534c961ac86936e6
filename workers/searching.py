"""Sees a search through: a candidate that takes its process with it, hangs, or is not done in time costs only itself.

The child says which candidate it is about to try. When it ends without having said what became of it, that candidate
is noted as crashed and another child goes on after it. The same way a search ends early with its best so far: the child
is stopped, and the next one is told to try nothing more.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from whetstone.contract.search import Ended
from whetstone.contract.steps import Findings, InputRole, Limits, SearchRecipe
from whetstone.contract.trials import Interrupted, Trial
from workers.engine.request import Done, Log, MadeFile, Message, Progress, Request, Tried, Trying
from workers.sandbox import Sandbox, StepFailed, Stopped

MOST_TIMES = 2
"""A candidate that was in work when a worker was lost may be innocent, and is tried once more."""

GRACE_SECONDS = 10.0
"""What a candidate may take beyond the end of the search's time."""

Save = Callable[[Findings, MadeFile | None], None]


class Listener(Protocol):
    """What is told of the search, and what is asked of it."""

    wrap_up: bool

    def should_stop(self) -> bool: ...

    def hear(self, message: Progress | Log) -> None: ...


class SearchWatch:
    """Runs children until one of them ends the search."""

    def __init__(
        self, sandbox: Sandbox, limits: Limits, request: Request, task: SearchRecipe, save: Save, listener: Listener
    ) -> None:
        self._sandbox, self._limits, self._request, self._save = sandbox, limits, request, save
        self._task, self._listener = task, listener
        self._before = task.trying  # what an earlier attempt was lost with
        self._inputs = dict(request.inputs)
        self._until = float("inf")
        self._began = time.monotonic()

    def run(self) -> Done:
        """Raises StepFailed where not even the original can be worked on, and Stopped."""
        self._mark_deadly()
        for number in range(2 + self._task.limit.trials):
            try:
                return self._child(number)
            except Stopped:
                if self._listener.should_stop():
                    raise
                self._interrupted()
            except StepFailed as error:
                self._crashed(error)
        raise AssertionError  # each child but the last notes a trial, and there are only so many

    def _mark_deadly(self) -> None:
        """The candidate that earlier attempts were lost with is not tried a third time."""
        if self._before is not None and self._before.times >= MOST_TIMES:
            lost = f"{self._before.times} workers were lost while they tried it."
            self._add(Trial(proposal=self._before.proposal, seconds=0, failed=lost, crashed=True))

    def _child(self, number: int) -> Done:
        scratch = self._request.scratch / f"search-{number}"
        scratch.mkdir()
        self._until = float("inf")
        task = self._task.model_copy(update={"trying": None})
        request = self._request.model_copy(update={"task": task, "scratch": scratch, "inputs": self._inputs})
        try:
            return self._sandbox.run(request, self._limits, self._hear, self._should_stop)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _should_stop(self) -> bool:
        wanted_early = self._listener.wrap_up and self._task.stop is None
        return self._listener.should_stop() or wanted_early or time.monotonic() > self._until

    def _hear(self, message: Message) -> None:
        match message:
            case Trying():
                self._began = time.monotonic()
                self._until = self._began + message.allowed + GRACE_SECONDS
                times = 1 + (self._before.times if self._is_again(message) and self._before else 0)
                self._tell(message.spent, trying=Interrupted(proposal=message.proposal, times=times))
            case Tried():
                self._until = float("inf")
                self._tell(message.spent, tried=(message.trial,), best=message.best)
                if message.best is not None:
                    self._keep(self._request.outputs / message.best.name)
            case Progress() | Log():
                self._listener.hear(message)
            case _:
                pass

    def _is_again(self, message: Trying) -> bool:
        return self._before is not None and self._before.proposal == message.proposal

    def _keep(self, archive: Path) -> None:
        """For the next child, if one is needed."""
        kept = self._request.scratch / "best.zip"
        archive.replace(kept)
        self._inputs[InputRole.CHECKPOINT] = kept

    def _tell(
        self,
        spent: float,
        tried: tuple[Trial, ...] = (),
        trying: Interrupted | None = None,
        best: MadeFile | None = None,
    ) -> None:
        self._save(Findings(tried=tried, trying=trying, spent=spent), best)
        self._task = self._task.model_copy(
            update={"tried": (*self._task.tried, *tried), "trying": trying, "spent": spent}
        )

    def _interrupted(self) -> None:
        """Stopped by us: the search is to end now, or a candidate took too long."""
        if self._listener.wrap_up:
            self._task = self._task.model_copy(update={"stop": Ended.REQUESTED, "trying": None})
        else:
            self._lost("It was not done in the time that a candidate may take.", crashed=False)

    def _crashed(self, error: StepFailed) -> None:
        """Raises it again where no candidate was in work: then it is not a candidate's fault."""
        if self._task.trying is None:
            raise error
        self._lost(error.failure.message, crashed=True)

    def _lost(self, why: str, *, crashed: bool) -> None:
        if self._task.trying is None:
            return
        seconds = time.monotonic() - self._began
        self._add(Trial(proposal=self._task.trying.proposal, seconds=seconds, failed=why, crashed=crashed))

    def _add(self, trial: Trial) -> None:
        self._listener.hear(Log(line=f"A candidate was given up: {trial.failed}"[:2000]))
        self._tell(self._task.spent + trial.seconds, tried=(trial,))
