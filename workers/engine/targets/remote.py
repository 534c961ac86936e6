"""A session in the Python of a toolkit: what the engine's own environment cannot load."""

import os
import subprocess
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import IO

from whetstone.contract.failures import FailureCode
from whetstone.contract.targets import RuntimeSettings
from whetstone.contract.toolkits import Toolkit
from workers.engine.errors import EngineError
from workers.engine.targets.builder import ToolkitMissing
from workers.engine.targets.runtime import Array, Arrays, TargetBuildFailed
from workers.engine.targets.servant import received, send
from workers.engine.toolkits.environments import is_built, place_of, python_in
from workers.engine.toolkits.running import ROOT, START

SERVANT = "workers.engine.targets.servant"
TAIL = 500


class ShapeFixed(EngineError):
    """The delivered file takes inputs of one shape."""

    code = FailureCode.TARGET_BUILD_FAILED
    hint = "This target fixes shapes when it converts: give the job samples of one shape."


class RuntimeStopped(EngineError):
    """The runtime ended while it ran the model."""

    code = FailureCode.RUNTIME_CRASHED


class NoStreams(EngineError):
    """This runtime runs one call at a time: leave `streams` out."""

    code = FailureCode.TARGET_BUILD_FAILED


def require_one_stream(settings: RuntimeSettings) -> None:
    """Raises: NoStreams."""
    if (settings.streams or 1) > 1:
        raise NoStreams


class RemoteSession:
    """A process that holds one model; it ends with this object, or when nobody can ask it any more.

    Raises: ToolkitMissing, TargetBuildFailed, RuntimeStopped.
    """

    def __init__(self, toolkit: Toolkit, file: Path, threads: int) -> None:
        if not is_built(toolkit):
            raise ToolkitMissing(toolkit)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        arguments = [str(ROOT), SERVANT, toolkit.value, str(file.absolute()), str(threads)]
        self._process = subprocess.Popen(
            [str(python_in(place_of(toolkit))), "-I", "-B", "-c", START, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ},
        )
        weakref.finalize(self, _end, self._process, self._log)
        try:
            self._answer()
        except TargetBuildFailed as error:
            raise TargetBuildFailed(f"{toolkit} cannot load the model: {error}") from error

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Raises: ShapeFixed, RuntimeStopped, TargetBuildFailed."""
        self._ask("run", inputs)
        return self._answer()

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        """What is called goes through a pipe, which takes some 50 µs: good enough to choose by, not to report."""
        self._ask("bind", inputs)
        self._answer()

        def call() -> object:
            self._ask("call", {})
            return self._answer()

        return call

    def _ask(self, what: str, inputs: Arrays) -> None:
        try:
            send(self._pipe(self._process.stdin), {"do": what}, inputs)
        except BrokenPipeError:
            raise RuntimeStopped(self._obituary()) from None

    def _answer(self) -> dict[str, Array]:
        answer = received(self._pipe(self._process.stdout))
        if answer is None:
            raise RuntimeStopped(self._obituary())
        told, arrays = answer
        if "failed" in told:
            raise (ShapeFixed if told["kind"] == "ShapeNotTaken" else TargetBuildFailed)(told["failed"])
        return arrays

    def _pipe(self, pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            raise RuntimeStopped("The process of the runtime has no pipe to talk through.")
        return pipe

    def _obituary(self) -> str:
        status = self._process.wait()
        self._log.seek(0)
        told = self._log.read().decode(errors="replace").strip()[-TAIL:]
        return f"The process that ran the model ended with status {status}: {told}"


def _end(process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:  # what it no longer read
                continue
    log.close()
