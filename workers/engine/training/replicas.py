"""Data parallel training: the first process steps, all compute the gradient of their share of each batch.

As with PyTorch's DistributedDataParallel the result is that of one process with the same batch, but for rounding, and
for batch-norm in training, which sees the statistics of its share alone. Unlike there only the first process holds
data, optimizer and hooks; the others are told everything, weights included, at each step.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from whetstone.contract.failures import FailureCode
from workers.engine.errors import EngineError
from workers.engine.training import link
from workers.engine.training.course import Course
from workers.engine.training.gradients import Alone, Inputs, NotFinite, Pupil
from workers.engine.training.link import Command
from workers.engine.training.losses import Targets
from workers.engine.training.replica import BRIEF, BRIEFS, STUDENT, TEACHER, Brief, packed

ROOT = Path(__file__).parents[3]
START_SECONDS = 180
LOOK_SECONDS = 0.05


class TooManyProcesses(EngineError):
    """There are fewer cores (or devices) than processes asked for."""

    code = FailureCode.NO_WORKER


class ReplicaLost(EngineError):
    """One of the processes of the training run has ended, or could not be reached."""

    code = FailureCode.RUNTIME_CRASHED
    hint = "Set processes to 1, or use a smaller batch if memory ran out."


def _check_room(processes: int, threads: int) -> None:
    room = torch.cuda.device_count() if torch.cuda.is_available() else threads
    if processes > room:
        what = "CUDA devices" if torch.cuda.is_available() else "cores"
        raise TooManyProcesses(f"{processes} processes were asked for; this worker has {room} {what}.")


class _Replicas:
    """The other processes, as children of this one."""

    def __init__(self, folder: Path, processes: int) -> None:
        self._folder = folder
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._children = {}
        for rank in range(1, processes):
            with self._log(rank).open("wb") as log:
                command = [sys.executable, "-m", "workers.engine.training.replica", str(folder), str(rank)]
                self._children[rank] = subprocess.Popen(
                    command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )

    def _log(self, rank: int) -> Path:
        return self._folder / f"replica-{rank}.log"

    def wait_until_ready(self) -> None:
        """Raises ReplicaLost if one ends instead, or takes too long."""
        limit = time.monotonic() + START_SECONDS
        while not all((self._folder / f"ready-{rank}").exists() for rank in self._children):
            self.check()
            if time.monotonic() > limit:
                raise ReplicaLost(f"A further training process did not start within {START_SECONDS} s.")
            time.sleep(LOOK_SECONDS)

    def check(self) -> None:
        """Raises ReplicaLost, with the last thing it said, if one has ended."""
        for rank, child in self._children.items():
            if child.poll() is not None:
                lines = self._log(rank).read_text(errors="replace").strip().splitlines() or ["nothing was said"]
                raise ReplicaLost(f"Training process {rank} ended with status {child.returncode}: {lines[-1][:300]}")

    def end(self) -> None:
        for child in self._children.values():
            child.kill()
            child.wait()


class Together:
    """Gradients of this process and of the replicas."""

    def __init__(self, pupil: Pupil, processes: int) -> None:
        self._own, self._processes = Alone(pupil), processes
        self._module = pupil.module
        self._last: Inputs = {}

    def begin(self, step: int) -> None:
        for rank in range(1, self._processes):
            link.tell(rank, Command.BEGIN, step)
        link.share_state(self._module)
        self._own.begin(step)

    def add(self, inputs: Inputs, targets: Targets | None, share: float) -> None:
        """Rows are dealt out in runs as equal as can be, the first ones to this process."""
        self._last = inputs
        count = len(next(iter(inputs.values())))
        bounds = [count * rank // self._processes for rank in range(self._processes + 1)]
        for rank in reversed(range(self._processes)):  # the others first, so that they are at work meanwhile
            cut = slice(bounds[rank], bounds[rank + 1])
            if cut.start == cut.stop:
                continue
            piece = {name: value[cut] for name, value in inputs.items()}
            wanted, weight = targets and targets.cut(cut), share * (cut.stop - cut.start) / count
            if rank:
                link.tell(rank, Command.ADD, weight, packed(piece, wanted))
            else:
                self._own.add(piece, wanted, weight)

    def finish(self) -> float:
        for rank in range(1, self._processes):
            link.tell(rank, Command.FINISH)
        loss = link.add_up(self._module, self._own.finish())
        if loss != loss:  # noqa: PLR0124 - NaN is what a replica tells of a loss that is not finite
            raise NotFinite(self._module.first_not_finite(self._last))
        return loss

    def end(self) -> None:
        for rank in range(1, self._processes):
            link.tell(rank, Command.END)


def _write(folder: Path, pupil: Pupil, course: Course) -> None:
    if course.graph is None:
        raise TypeError("processes need the graph that the module was made from")
    course.graph.save(folder / STUDENT)
    if course.teacher is not None and pupil.teacher is not None:
        course.teacher.save(folder / TEACHER)
    threads = max(1, course.threads // course.processes)
    scales = bool(pupil.module.scales)
    brief = Brief(course.learning, course.objective, course.feed_singly, threads, course.processes, scales)
    (folder / BRIEF).write_bytes(BRIEFS.dump_json(brief))


@contextmanager
def spread(pupil: Pupil, course: Course) -> Iterator[Together]:
    """Start the other processes, and end them in any case. Raises TooManyProcesses or ReplicaLost."""
    _check_room(course.processes, course.threads)
    with tempfile.TemporaryDirectory(dir=course.scratch, prefix="replicas-") as name:
        folder = Path(name)
        _write(folder, pupil, course)
        replicas = _Replicas(folder, course.processes)
        try:
            replicas.wait_until_ready()
            with _joined(folder, course.processes, replicas):
                together = Together(pupil, course.processes)
                yield together
                together.end()
        finally:
            replicas.end()


@contextmanager
def _joined(folder: Path, processes: int, replicas: _Replicas) -> Iterator[None]:
    """The group of processes; that it breaks is told in words of ours."""
    try:
        link.meet(folder, 0, processes)
    except RuntimeError as error:
        raise ReplicaLost(f"The training processes could not meet: {error}") from error
    try:
        yield
    except RuntimeError:
        time.sleep(LOOK_SECONDS)  # a process that is just ending has its status a little later
        replicas.check()
        raise
    finally:
        link.part()
