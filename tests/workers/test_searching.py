"""A search whose candidates take their process with them, hang, or are told to stop: a real sandbox, real signals."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from examples import digits
from whetstone.contract.failures import FailureCode
from whetstone.contract.jobs import Budget, Measurement, Objective
from whetstone.contract.search import Ended, Limit
from whetstone.contract.steps import Findings, InputRole, Limits, Searched, SearchRecipe
from whetstone.contract.targets import Target
from whetstone.contract.trials import Interrupted
from workers.engine.request import Done, Log, MadeFile, Progress, Request
from workers.sandbox import Sandbox, StepFailed, Stopped
from workers.searching import SearchWatch

LIMITS = Limits(seconds=300, memory=8 * 2**30, file_size=2**30)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


class Control:
    """Takes what a search tells, and can act on it: kill the child, or ask for the end."""

    def __init__(self, sandbox: Sandbox, act: Callable[["Control", Findings], None]) -> None:
        self._sandbox, self._act = sandbox, act
        self.wrap_up = self.stop = False
        self.found: list[Findings] = []
        self.lines: list[str] = []

    def should_stop(self) -> bool:
        return self.stop

    def hear(self, message: Progress | Log) -> None:
        if isinstance(message, Log):
            self.lines.append(message.line)

    def save(self, found: Findings, best: MadeFile | None) -> None:
        assert best is None or found.tried
        self.found.append(found)
        self._act(self, found)

    def kill(self, how: signal.Signals) -> None:
        assert self._sandbox._server is not None
        (child,) = psutil.Process(self._sandbox._server.pid).children()
        child.send_signal(how)

    @property
    def begun(self) -> list[Interrupted]:
        return [found.trying for found in self.found if found.trying]


def ordered(**fields: object) -> SearchRecipe:
    defaults = {
        "limit": Limit(minutes=2, trials=4),
        "targets": (Target.ONNXRUNTIME_CPU,),
        "budget": Budget(objective=Objective.SIZE, max_drop=5),
        "measurement": Measurement(threads=1),
    }
    return SearchRecipe.model_validate(defaults | fields)


def watched(control: Control, sandbox: Sandbox, folder: Path, task: SearchRecipe) -> tuple[Searched, Done, Request]:
    digits.write(folder)
    scratch = folder / "scratch"
    (scratch / "outputs").mkdir(parents=True)
    inputs = {InputRole.MODEL: folder / "digits.onnx", InputRole.DATASET: folder / "digits.npz"}
    request = Request(task=task, inputs=inputs, outputs=scratch / "outputs", scratch=scratch)
    done = SearchWatch(sandbox, LIMITS, request, task, control.save, control).run()
    assert isinstance(done.result, Searched)
    assert {made.name for made in done.outputs} <= {path.name for path in request.outputs.iterdir()}
    assert not list(scratch.glob("search-*"))
    return done.result, done, request


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL])
def test_a_candidate_that_kills_the_process_costs_only_itself(
    sandbox: Sandbox, tmp_path: Path, how: signal.Signals
) -> None:
    def act(control: Control, found: Findings) -> None:
        if found.trying and len(control.begun) == 3:
            control.kill(how)

    control = Control(sandbox, act)
    found, _, _ = watched(control, sandbox, tmp_path, ordered())
    assert len(control.begun) == len({begun.proposal for begun in control.begun}) == 4  # none was tried twice
    (crashed,) = [candidate for candidate in found.candidates if candidate.because.startswith("Crashed")]
    assert crashed.recipe == control.begun[2].proposal.recipe
    assert (found.summary.trials, found.summary.crashed) == (4, 1)
    assert found.summary.ended is Ended.TRIALS
    assert found.winners[0].passes[-1].config.kind == "quantize"  # found before the crash, by a process that is gone
    assert any("given up" in line for line in control.lines)


def test_told_to_finish_it_ends_with_the_best_so_far(sandbox: Sandbox, tmp_path: Path) -> None:
    def act(control: Control, _: Findings) -> None:
        control.wrap_up = len(control.begun) == 3

    control = Control(sandbox, act)
    found, _, _ = watched(control, sandbox, tmp_path, ordered())
    assert found.summary.ended is Ended.REQUESTED
    assert found.summary.trials == 2
    assert sum(candidate.chosen for candidate in found.candidates) == 1
    assert found.winners[0].passes[-1].config.kind == "quantize"


def test_a_cancelled_search_is_stopped(sandbox: Sandbox, tmp_path: Path) -> None:
    def act(control: Control, _: Findings) -> None:
        control.stop = control.wrap_up = True

    with pytest.raises(Stopped):
        watched(Control(sandbox, act), sandbox, tmp_path, ordered())


def test_a_candidate_that_hangs_is_given_up(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.searching.GRACE_SECONDS", 1.0)

    def act(control: Control, found: Findings) -> None:
        if found.trying and len(control.begun) == 2:
            control.kill(signal.SIGSTOP)

    control = Control(sandbox, act)
    found, _, _ = watched(control, sandbox, tmp_path, ordered(limit=Limit(minutes=0.1)))
    assert found.summary.ended is Ended.MINUTES
    assert any("not done in the time" in candidate.because for candidate in found.candidates)


def test_what_workers_were_lost_with_twice_is_not_tried_again(sandbox: Sandbox, tmp_path: Path) -> None:
    first = Control(sandbox, lambda *_: None)
    found, _, _ = watched(first, sandbox, tmp_path / "first", ordered(limit=Limit(minutes=2, trials=3)))
    tried = tuple(trial for told in first.found for trial in told.tried)
    plain = tried[1].proposal
    once = ordered(tried=tried[:1], trying=Interrupted(proposal=plain), limit=Limit(minutes=2, trials=2))
    again = Control(sandbox, lambda *_: None)
    watched(again, sandbox, tmp_path / "again", once)
    assert again.begun == [Interrupted(proposal=plain, times=2)]
    twice = once.model_copy(update={"trying": again.begun[0], "limit": Limit(minutes=2, trials=3)})
    never = Control(sandbox, lambda *_: None)
    found, _, _ = watched(never, sandbox, tmp_path / "never", twice)
    assert plain not in [begun.proposal for begun in never.begun]
    assert found.summary.crashed == 1
    assert found.summary.trials == 3


def test_what_is_no_candidates_fault_fails_the_step(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "digits.onnx").write_bytes(b"no model")
    task = ordered()
    (tmp_path / "outputs").mkdir()
    inputs = {InputRole.MODEL: tmp_path / "digits.onnx"}
    request = Request(task=task, inputs=inputs, outputs=tmp_path / "outputs", scratch=tmp_path)
    control = Control(sandbox, lambda *_: None)
    with pytest.raises(StepFailed) as failed:
        SearchWatch(sandbox, LIMITS, request, task, control.save, control).run()
    assert failed.value.failure.code is FailureCode.INVALID_MODEL
    assert control.found == []
