"""One side of a comparison: a fresh process that holds one artifact in its runtime."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar

import numpy as np

import workers
from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.targets import AS_USUAL, RuntimeSettings, Target, toolkit_of
from workers.engine.errors import EngineError
from workers.engine.measure.protocol import ANSWER, Burst, Close, Closed, Load, Loaded, Refused, Serve, Stream, Timed
from workers.engine.measure.statistics import Floats
from workers.engine.targets.runtime import Arrays
from workers.engine.toolkits.environments import place_of, python_in

SOURCES = Path(str(workers.__file__)).parents[1]
TAIL = 500

Said = TypeVar("Said", Loaded, Timed, Closed)


class RuntimeCrashed(EngineError):
    """The runtime crashed while it ran the model."""

    code = FailureCode.RUNTIME_CRASHED


class RunnerRefused(EngineError):
    """The measured process could not do what it was told; it says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, layer=failure.layer, hint=failure.hint)
        self.failure = failure

    def as_failure(self) -> Failure:
        return self.failure


class Side:
    """A context: the process ends with it. Every method raises RuntimeCrashed or RunnerRefused.

    `artifact` is the delivered file, `inputs` one batch; the process is pinned to `cores`, with one thread on each
    unless the `settings` say otherwise, and `scratch` is a folder of its own.
    """

    def __init__(
        self,
        target: Target,
        artifact: Path,
        inputs: Arrays,
        cores: tuple[int, ...],
        scratch: Path,
        settings: RuntimeSettings = AS_USUAL,
    ) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self._errors = scratch / "stderr.txt"
        files = _write(inputs, scratch)
        self._order = Load(
            target=target, settings=settings, artifact=artifact, inputs=files, cores=cores, scratch=scratch
        )
        self._process = _start(_python_of(target), scratch, self._errors)
        self._commands, self._answers = _open(self._process.stdin), _open(self._process.stdout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._answers.close()
        with contextlib.suppress(BrokenPipeError):  # a command that a crashed process did not read
            self._commands.close()

    def load(self) -> float:
        """The time of the first load in this process, in milliseconds."""
        return self._ask(self._order, Loaded).cold_load_ms

    def peak_memory(self) -> int:
        """The largest resident size of the process, in bytes, once the model is loaded and has run."""
        return self._ask(Burst(runs=1), Timed).peak_memory

    def burst(self, runs: int, settle: int = 0) -> list[float]:
        """Times of single calls, in milliseconds."""
        return [ns / 1e6 for ns in self._ask(Burst(runs=runs, settle=settle), Timed).times_ns]

    def stream(self, seconds: float) -> list[float]:
        """Times of single calls, one after the other for so long, in milliseconds."""
        return [ns / 1e6 for ns in self._ask(Stream(seconds=seconds), Timed).times_ns]

    def serve(self, arrivals: Floats, patience: float) -> list[float]:
        """From each arrival until its call is done, in milliseconds; arrivals and patience are in seconds from now.

        Calls that had not begun when patience ended are missing.
        """
        at = tuple((1e9 * arrivals).astype(np.int64).tolist())
        order = Serve(arrivals_ns=at, patience_ns=int(1e9 * patience))
        return [ns / 1e6 for ns in self._ask(order, Timed).times_ns]

    def close(self) -> Closed:
        return self._ask(Close(), Closed)

    def _ask(self, command: Load | Burst | Stream | Serve | Close, expected: type[Said]) -> Said:
        try:
            self._commands.write(command.model_dump_json() + "\n")
            self._commands.flush()
        except BrokenPipeError:
            raise RuntimeCrashed(self._obituary()) from None
        line = self._answers.readline()
        if not line:
            raise RuntimeCrashed(self._obituary())
        answer = ANSWER.validate_json(line)
        if isinstance(answer, Refused):
            raise RunnerRefused(answer.failure)
        if not isinstance(answer, expected):
            raise RuntimeCrashed(f"The measured process answered {answer.said} to {command.do}.")
        return answer

    def _obituary(self) -> str:
        status = self._process.wait()
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"The process that ran the model {how}: {self._errors.read_text(errors='replace').strip()[-TAIL:]}"


def _python_of(target: Target) -> str:
    """The one that has the target's runtime."""
    toolkit = toolkit_of(target)
    return sys.executable if toolkit is None else str(python_in(place_of(toolkit)))


def _start(python: str, scratch: Path, errors: Path) -> subprocess.Popen[str]:
    """`-P`: the working folder holds the tenant's files, and Python must not import from it."""
    with errors.open("w") as stderr:
        return subprocess.Popen(
            [python, "-P", "-m", "workers.engine.measure.runner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=scratch,
            env=os.environ
            | {"PYTHONPATH": str(SOURCES), "TMPDIR": str(scratch), "HOME": str(scratch), "ORT_DISABLE_TELEMETRY": "1"},
        )


def _write(inputs: Arrays, scratch: Path) -> dict[str, Path]:
    """Save tensors under numbers: their names may be no file names."""
    files = {name: scratch / f"input{number}.npy" for number, name in enumerate(inputs)}
    for name, file in files.items():
        np.save(file, inputs[name], allow_pickle=False)
    return files


def _open(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeCrashed("The measured process has no pipe to talk through.")
    return pipe
