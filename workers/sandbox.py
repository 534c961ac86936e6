"""Runs the engine on a tenant's files in a child process. Whatever happens there is an answer here, never a crash.

What crosses the boundary is the request file on the way in and JSON lines on the way out; both are data.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import TypeAdapter, ValidationError

from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.steps import Limits
from workers.engine.request import Done, Failed, MadeFile, Message, Request
from workers.engine.toolkits.environments import FOLDER_VARIABLE
from workers.engine.toolkits.environments import folder as toolkits
from workers.engine.toolkits.offered import VARIABLE, policy

START_SECONDS = 120.0
LOOK_SECONDS = 0.05
MEMORY_LOOK_SECONDS = 0.5
MAX_MESSAGE = 64 * 2**20
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)
_ENGINE_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "LD_LIBRARY_PATH")
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}


class StepFailed(Exception):
    """The engine could not do the step; `failure` says why. `outputs` are of use all the same."""

    def __init__(self, failure: Failure, outputs: tuple[MadeFile, ...] = ()) -> None:
        super().__init__(failure.message)
        self.failure, self.outputs = failure, outputs


class Stopped(Exception):
    """The step was stopped because it was cancelled or lost."""


@dataclass
class _Child:
    """A running child and the deadline it has."""

    pid: int
    pipe: int
    deadline: float
    memory: int
    next_look: float = 0.0
    killed_for: Failure | None = None
    stopped: bool = False


class Sandbox:
    """One warm forkserver; one child at a time."""

    def __init__(self, python: str = sys.executable) -> None:
        self._python = python
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def warm_up(self) -> None:
        """Start the forkserver without waiting for its imports."""
        if self._server is None or self._server.poll() is not None:
            self.close()
            self._control, theirs = socket.socketpair()
            command = [self._python, "-m", "workers.forkserver", str(theirs.fileno())]
            self._server = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env=_environment(), stdin=subprocess.DEVNULL
            )
            theirs.close()
            self._lines = self._read_lines(self._control)
            self._ready = False

    def run(
        self, request: Request, limits: Limits, hear: Callable[[Message], None], should_stop: Callable[[], bool]
    ) -> Done:
        """Do the work in a fresh child. Raises StepFailed, Stopped."""
        child = self._start(request, limits)
        last: Done | Failed | None = None
        try:
            for message in self._messages(child, should_stop):
                if isinstance(message, Done | Failed):
                    last = message
                else:
                    hear(message)
        finally:
            _kill(child.pid)
            os.close(child.pipe)
        status = int(self._next_line()["status"])
        return _outcome(child, last, status, request.scratch)

    def close(self) -> None:
        if self._control is not None:
            self._lines.close()  # else it holds the socket open
            self._control.close()
        if self._server is not None:
            self._server.kill()
            self._server.wait()
        self._server = self._control = None

    def _start(self, request: Request, limits: Limits) -> _Child:
        self.warm_up()
        if not self._ready:
            self._next_line()
            self._ready = True
        request_file = request.scratch / "request.json"
        request_file.write_text(request.model_dump_json())
        call = {
            "request": str(request_file),
            "scratch": str(request.scratch),
            "memory": limits.memory,
            "file_size": limits.file_size,
        }
        ours, theirs = os.pipe()
        assert self._control is not None  # noqa: S101 - warm_up has just made it
        socket.send_fds(self._control, [json.dumps(call).encode()], [theirs])
        os.close(theirs)
        return _Child(int(self._next_line()["pid"]), ours, time.monotonic() + limits.seconds, limits.memory)

    def _messages(self, child: _Child, should_stop: Callable[[], bool]) -> Iterator[Message]:
        """What the child says, until it has ended or was killed for a reason."""
        buffer = b""
        while True:
            readable, _, _ = select.select([child.pipe], [], [], LOOK_SECONDS)
            if readable:
                chunk = os.read(child.pipe, 2**20)
                if not chunk:
                    return
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    yield _parse(line)
            if len(buffer) > MAX_MESSAGE:
                raise StepFailed(_garbled("a message of more than 64 MiB"))
            _watch(child, should_stop)

    def _next_line(self) -> dict[str, int]:
        try:
            return next(self._lines)
        except (StopIteration, OSError) as error:
            self.close()
            raise StepFailed(
                Failure(code=FailureCode.INTERNAL_ERROR, message="The sandbox could not be started.")
            ) from error

    def _read_lines(self, control: socket.socket) -> Generator[dict[str, int]]:
        control.settimeout(START_SECONDS)
        with control.makefile("rb") as lines:
            for line in lines:
                yield json.loads(line)


def _environment() -> dict[str, str]:
    """Nothing of the worker's own: no address, no token, no home."""
    kept = {name: os.environ[name] for name in _ENGINE_VARIABLES if name in os.environ}
    fixed = {
        "MALLOC_ARENA_MAX": "2",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "MPLCONFIGDIR": str(_fonts()),
        "HF_HUB_OFFLINE": "1",
        FOLDER_VARIABLE: str(toolkits()),
        VARIABLE: policy(),
        "ORT_DISABLE_TELEMETRY": "1",
    }
    return kept | fixed


def _fonts() -> Path:
    """A folder for matplotlib's list of fonts, filled by the first forkserver and read by the others."""
    return Path(tempfile.gettempdir()) / f"whetstone-fonts-{os.getuid()}"


def _parse(line: bytes) -> Message:
    try:
        return _MESSAGE.validate_json(line)
    except ValidationError as error:
        raise StepFailed(_garbled(f"{error.error_count()} errors in a message")) from error


def _garbled(what: str) -> Failure:
    return Failure(code=FailureCode.RUNTIME_CRASHED, message=f"The step's process did not answer properly: {what}.")


def _watch(child: _Child, should_stop: Callable[[], bool]) -> None:
    """Kill the child when it takes too long or too much, or is no longer wanted."""
    if child.killed_for is not None or child.stopped:
        return
    if should_stop():
        child.stopped = True
    elif time.monotonic() > child.deadline:
        child.killed_for = Failure(
            code=FailureCode.TIME_LIMIT,
            message="The step took longer than its time limit.",
            hint="Raise budget.max_minutes, or make the work smaller.",
        )
    elif _uses_too_much(child):
        child.killed_for = Failure(
            code=FailureCode.OUT_OF_MEMORY,
            message=f"The step used more than its {child.memory / 2**30:.1f} GiB of memory.",
            hint="Use a smaller batch or fewer samples, or ask the operator for a larger limit.",
        )
    if child.killed_for is not None or child.stopped:
        _kill(child.pid)


def _uses_too_much(child: _Child) -> bool:
    """Looks now and then only: a look walks the process table, and would disturb what is measured."""
    now = time.monotonic()
    if now < child.next_look:
        return False
    child.next_look = now + MEMORY_LOOK_SECONDS
    return _memory_of(child.pid) > child.memory


def _memory_of(pid: int) -> int:
    """Resident memory of the child and of the processes it started, in bytes."""
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


def _kill(pid: int) -> None:
    """The child leads a session of its own, so what it started goes with it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _outcome(child: _Child, last: Done | Failed | None, status: int, scratch: Path) -> Done:
    if child.stopped:
        raise Stopped
    if child.killed_for is not None:
        raise StepFailed(child.killed_for)
    if isinstance(last, Done):
        return last
    if isinstance(last, Failed):
        raise StepFailed(last.failure, last.outputs)
    raise StepFailed(_ended_badly(status, _tail(scratch / "output.log")))


def _ended_badly(status: int, output: str) -> Failure:
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    if number == signal.SIGKILL:
        return Failure(code=FailureCode.OUT_OF_MEMORY, message="The system ended the step, most likely out of memory.")
    if number in _CRASHES:
        return Failure(
            code=FailureCode.RUNTIME_CRASHED,
            message=f"The model crashed the runtime ({signal.Signals(number).name}).",
            hint="Run the model in onnxruntime yourself: it should end in the same way there.",
            detail=output or None,
        )
    return Failure(
        code=FailureCode.INTERNAL_ERROR,
        message=f"The step's process ended with status {status}.",
        detail=output or None,
    )


def _tail(log: Path, size: int = 2000) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - size))
        return file.read().decode(errors="replace")
