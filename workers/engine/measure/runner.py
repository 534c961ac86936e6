"""The measured process: one artifact in one runtime and nothing else, told what to do over stdin.

Started as `python -m workers.engine.measure.runner`. It writes only to the scratch folder it is given.
"""

import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter_ns
from typing import TextIO, assert_never

import numpy as np

from whetstone.contract.failures import Failure, FailureCode
from workers.engine.errors import EngineError
from workers.engine.measure.protocol import COMMAND, Burst, Close, Closed, Load, Loaded, Refused, Serve, Stream, Timed
from workers.engine.targets.choose import loader_for
from workers.engine.targets.runtime import Array

WARM_LOADS = 3
SPIN_NS = 300_000
STATUS = Path("/proc/self/status")


class Runner:
    """Loads on construction."""

    def __init__(self, order: Load) -> None:
        os.sched_setaffinity(0, order.cores)
        self._order = order
        self._runtime = loader_for(order.target, order.settings)
        self._file = self._runtime.unpack(order.artifact, order.scratch)
        self._inputs: dict[str, Array] = {name: np.load(file) for name, file in order.inputs.items()}
        started = perf_counter_ns()
        self._session = self._runtime.load(self._file, len(order.cores))
        self.cold_load_ms = (perf_counter_ns() - started) / 1e6
        self._call = self._session.bind(self._inputs)

    def burst(self, runs: int, settle: int) -> tuple[int, ...]:
        """Times of single calls, in nanoseconds."""
        for _ in range(settle):
            self._call()
        return tuple(self._time_one() for _ in range(runs))

    def stream(self, seconds: float) -> tuple[int, ...]:
        """Times of single calls, in nanoseconds; the last one ends after the time."""
        end, times = perf_counter_ns() + int(1e9 * seconds), []
        while perf_counter_ns() < end:
            times.append(self._time_one())
        return tuple(times)

    def serve(self, arrivals: tuple[int, ...], patience: int) -> tuple[int, ...]:
        """From the arrival of each call until it is done, in nanoseconds, as far as patience went."""
        started, times = perf_counter_ns(), []
        for arrival in arrivals:
            if perf_counter_ns() - started > patience:
                break
            _wait(started + arrival)
            self._call()
            times.append(perf_counter_ns() - started - arrival)
        return tuple(times)

    def close(self) -> Closed:
        peak = peak_memory()
        del self._session, self._call
        return Closed(
            peak_memory=peak,
            warm_load_ms=statistics.median(self._load_again() for _ in range(WARM_LOADS)),
            operators=self._runtime.operators(
                self._file, self._inputs, len(self._order.cores), scratch=self._order.scratch
            ),
        )

    def _time_one(self) -> int:
        started = perf_counter_ns()
        self._call()
        return perf_counter_ns() - started

    def _load_again(self) -> float:
        started = perf_counter_ns()
        self._runtime.load(self._file, len(self._order.cores))
        return (perf_counter_ns() - started) / 1e6


def _wait(until: int) -> None:
    """Sleep is too coarse for the last part."""
    rest = until - perf_counter_ns() - SPIN_NS
    if rest > 0:
        time.sleep(rest / 1e9)
    while perf_counter_ns() < until:
        pass


def peak_memory() -> int:
    """The largest resident size of this process, in bytes.

    Not `getrusage`: its maximum is inherited from the parent across exec.
    """
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def serve(commands: TextIO) -> Iterator[Loaded | Timed | Closed | Refused]:
    """Answers, until the session is closed or something fails."""
    runner = None
    for line in commands:
        command = COMMAND.validate_json(line)
        match command:
            case Load():
                runner = Runner(command)
                yield Loaded(cold_load_ms=runner.cold_load_ms)
            case Burst() if runner:
                yield Timed(times_ns=runner.burst(command.runs, command.settle), peak_memory=peak_memory())
            case Stream() if runner:
                yield Timed(times_ns=runner.stream(command.seconds), peak_memory=peak_memory())
            case Serve() if runner:
                times = runner.serve(command.arrivals_ns, command.patience_ns)
                yield Timed(times_ns=times, peak_memory=peak_memory())
            case Close() if runner:
                yield runner.close()
            case Burst() | Stream() | Serve() | Close():
                raise EngineError("The first command must be load.")
            case _:
                assert_never(command)


def own_stdout() -> TextIO:
    """The answers' channel. What libraries print goes to stderr instead, where it can break nothing."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return channel


def main() -> None:
    channel = own_stdout()
    try:
        for answer in serve(sys.stdin):
            channel.write(answer.model_dump_json() + "\n")
    except Exception as error:  # noqa: BLE001  # whatever a runtime throws must reach the other side as a sentence
        channel.write(Refused(failure=_as_failure(error)).model_dump_json() + "\n")


def _as_failure(error: Exception) -> Failure:
    match error:
        case EngineError():
            return error.as_failure()
        case MemoryError():
            return Failure(code=FailureCode.OUT_OF_MEMORY, message="The model does not fit in memory.")
        case _:
            return Failure(code=FailureCode.RUNTIME_CRASHED, message=f"The runtime failed: {error}"[:500])


if __name__ == "__main__":
    main()
