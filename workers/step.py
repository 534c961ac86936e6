"""One step, from claim to finish."""

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.steps import (
    Checkpoint,
    Fail,
    Findings,
    Finish,
    Heartbeat,
    InputRole,
    LearningState,
    Order,
    OutputFile,
    SearchRecipe,
)
from whetstone.contract.tuning import Values
from workers.control_plane import ControlPlane, Refused, Unreachable, WrongContent
from workers.engine.request import Chosen, Done, LearningSaved, Log, MadeFile, Message, PassDone, Progress, Request
from workers.sandbox import Sandbox, StepFailed, Stopped
from workers.searching import SearchWatch

TELL_SECONDS = 0.5  # progress is told at most twice a second
MAX_LOGS = 100
log = structlog.get_logger()


class Heart:
    """Beats in a thread of its own: prolongs the lease, passes on progress, learns of cancellation and loss."""

    def __init__(self, control: ControlPlane, order: Order) -> None:
        self._control = control
        self._order = order
        self._news = threading.Event()
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._logs: list[str] = []
        self._chosen: Values | None = None
        self.cancelled = False
        self.lost = False
        self.wrap_up = False

    def should_stop(self) -> bool:
        return self.cancelled or self.lost

    def hear(self, message: Progress | Log) -> None:
        with self._lock:
            if isinstance(message, Progress):
                self._progress = message
            elif len(self._logs) < MAX_LOGS:
                self._logs.append(message.line)
        self._news.set()

    def choose(self, values: Values) -> None:
        """The values of a trial; the next one waits until they are known."""
        with self._lock:
            self._chosen = values
        self._news.set()

    @contextmanager
    def beating(self) -> Iterator[None]:
        thread = threading.Thread(target=self._beat, name="heart", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            self._news.set()
            thread.join()

    def _beat(self) -> None:
        while not self._end.is_set():
            self._news.wait(self._order.lease_seconds / 3)
            self._news.clear()
            self._say()
            self._end.wait(TELL_SECONDS)
        self._say()

    def _say(self) -> None:
        with self._lock:
            told, self._progress = self._progress, None
            lines, self._logs = tuple(self._logs), []
            chosen, self._chosen = self._chosen, None
        beat = Heartbeat(
            progress=told.fraction if told else None,
            message=told.message if told else None,
            metrics=told.metrics if told else {},
            logs=lines,
            chosen=chosen,
        )
        try:
            answer = self._control.heartbeat(self._order.token, beat)
            self.cancelled, self.wrap_up = answer.cancel or self.cancelled, answer.wrap_up or self.wrap_up
        except Refused as error:
            log.warning("step lost", step_id=self._order.step_id, reason=str(error))
            self.lost = True
        except Unreachable as error:
            log.warning("heartbeat not heard", step_id=self._order.step_id, reason=str(error))
            with self._lock:
                self._chosen = self._chosen or chosen  # said again with the next


def run_step(control: ControlPlane, sandbox: Sandbox, scratch_root: Path, token: str) -> None:
    """Claim the step behind the token and see it through. A message that came twice claims nothing."""
    try:
        order = control.claim(token)
    except Refused as error:
        log.info("nothing to claim", reason=str(error))
        return
    with (
        structlog.contextvars.bound_contextvars(step_id=order.step_id, attempt=order.attempt),
        _folder(scratch_root) as scratch,
    ):
        log.info("step started", kind=order.task.kind)
        began = time.monotonic()
        outcome = _work(control, sandbox, order, scratch)
        log.info("step ended", outcome=outcome, seconds=round(time.monotonic() - began, 3))


def _work(control: ControlPlane, sandbox: Sandbox, order: Order, scratch: Path) -> str:
    heart = Heart(control, order)
    try:
        with heart.beating():
            finish = _make(control, sandbox, order, scratch, heart)
        control.finish(order.token, finish)
    except Stopped:
        return _stopped(control, order, heart)
    except StepFailed as error:
        return _failed(control, order, error.failure, _rescued(control, order, scratch / "outputs", error.outputs))
    except Unreachable as error:
        return _failed(control, order, Failure(code=FailureCode.STORAGE_ERROR, message=str(error)))
    except Refused as error:
        if error.code == "output_missing":  # it went while we were at work; another attempt uploads it again
            return _failed(control, order, Failure(code=FailureCode.STORAGE_ERROR, message=str(error)))
        return f"refused: {error}"
    return "succeeded"


def _make(control: ControlPlane, sandbox: Sandbox, order: Order, scratch: Path, heart: Heart) -> Finish:
    outputs = scratch / "outputs"
    outputs.mkdir()
    request = Request(
        task=order.task,
        inputs=_fetch(control, order, scratch),
        preprocessing={given.role: given.preprocessing for given in order.inputs if given.preprocessing is not None},
        outputs=outputs,
        scratch=scratch,
    )

    def hear(message: Message) -> None:
        if isinstance(message, PassDone):
            _save_checkpoint(control, order, outputs, message)
        elif isinstance(message, LearningSaved):
            made = message.file.model_copy(update={"kind": ArtifactKind.LEARNING_STATE})
            control.save_learning(order.token, LearningState(output=_keep(control, order, outputs, made)))
            (outputs / made.name).unlink()  # each state has a name of its own, and they would fill the disk
        elif isinstance(message, Chosen):
            heart.choose(message.parameters)
        elif isinstance(message, Progress | Log):
            heart.hear(message)

    if isinstance(order.task, SearchRecipe):
        done = _search(control, sandbox, order, request, order.task, heart)
    else:
        done = sandbox.run(request, order.limits, hear, heart.should_stop)
    kept = tuple(_keep(control, order, outputs, made) for made in done.outputs)
    return Finish(result=done.result, outputs=kept)


def _search(
    control: ControlPlane, sandbox: Sandbox, order: Order, request: Request, task: SearchRecipe, heart: Heart
) -> Done:
    def save(findings: Findings, best: MadeFile | None) -> None:
        output = _keep(control, order, request.outputs, best) if best else None
        control.save_findings(order.token, findings.model_copy(update={"output": output}))

    return SearchWatch(sandbox, order.limits, request, task, save, heart).run()


def _fetch(control: ControlPlane, order: Order, scratch: Path) -> dict[InputRole, Path]:
    """Each input in a folder of its own, under the name the tenant gave it; the kits together in one."""
    paths = {}
    for given in order.inputs:
        folder = scratch / "inputs" / given.role
        folder.mkdir(parents=True, exist_ok=True)
        try:
            control.download(given, folder / given.filename)
        except WrongContent as error:
            hint = "Upload the file again; the hash that is announced must be its own."
            raise StepFailed(Failure(code=FailureCode.WRONG_CONTENT, message=str(error), hint=hint)) from error
        paths[given.role] = folder if given.role is InputRole.KIT else folder / given.filename
    return paths


def _save_checkpoint(control: ControlPlane, order: Order, outputs: Path, message: PassDone) -> None:
    output = _keep(control, order, outputs, message.file)
    control.checkpoint(order.token, Checkpoint(passes=message.passes, output=output))


def _keep(control: ControlPlane, order: Order, outputs: Path, made: MadeFile) -> OutputFile:
    path = outputs / made.name
    if path.is_symlink() or not path.is_file():
        message = f"The step named an output that is no file: {made.name}"
        raise StepFailed(Failure(code=FailureCode.RUNTIME_CRASHED, message=message))
    stored = control.upload(order.token, path)
    return OutputFile(
        name=made.name, kind=made.kind, media_type=made.media_type, sha256=stored.sha256, size=stored.size
    )


def _stopped(control: ControlPlane, order: Order, heart: Heart) -> str:
    if heart.lost:
        return "lost"
    failure = Failure(code=FailureCode.INTERNAL_ERROR, message="The step was cancelled.")
    _tell_failure(control, order, Fail(failure=failure, cancelled=True))
    return "cancelled"


def _rescued(control: ControlPlane, order: Order, outputs: Path, made: tuple[MadeFile, ...]) -> tuple[OutputFile, ...]:
    """Upload what a step that failed has left. If that fails too, the reason of the step's own failure is told."""
    try:
        return tuple(_keep(control, order, outputs, each) for each in made)
    except (StepFailed, Refused, Unreachable) as error:
        log.warning("nothing rescued", reason=str(error))
        return ()


def _failed(control: ControlPlane, order: Order, failure: Failure, outputs: tuple[OutputFile, ...] = ()) -> str:
    _tell_failure(control, order, Fail(failure=failure, outputs=outputs))
    return f"failed: {failure.code}"


def _tell_failure(control: ControlPlane, order: Order, failed: Fail) -> None:
    """If even this cannot be told, the lease runs out and the step is taken back."""
    try:
        control.fail(order.token, failed)
    except (Refused, Unreachable) as error:
        log.warning("failure not heard", reason=str(error))


@contextmanager
def _folder(root: Path) -> Iterator[Path]:
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="step-", dir=root.resolve()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
