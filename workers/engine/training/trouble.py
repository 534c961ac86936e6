"""What can go wrong while learning, told with the step and, where it is known, the layer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from whetstone.contract.failures import FailureCode
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.graph.ops.program import NodeFailed
from workers.engine.graph.reasons import reason_of
from workers.engine.training.gradients import NotFinite


class LearningStopped(EngineError):
    """Learning came to an end before its time.

    `has_best`: the best weights so far are in the module; `best` is the graph with them, once they are written to it.
    """

    has_best = False
    best: Graph | None = None


class TrainingDiverged(LearningStopped):
    """The loss became infinite or NaN."""

    code = FailureCode.TRAINING_DIVERGED
    hint = "Lower the learning rate, or limit the gradient with clip_norm."


class OutOfMemory(LearningStopped):
    """Learning needed more memory than there is."""

    code = FailureCode.OUT_OF_MEMORY
    hint = "Use a smaller batch_size, with accumulate to make up for it."


class CannotRun(LearningStopped):
    """A node cannot be run on the samples."""

    code = FailureCode.RUNTIME_CRASHED
    hint = "Look at the samples, and at batch_size: some operators do not take a batch of 1 while they learn."


def _is_memory(error: Exception) -> bool:
    """PyTorch tells in words that the CPU's memory ran out, and by a class that a device's did."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def _failure(error: Exception, where: str) -> tuple[type[LearningStopped], str, str | None] | None:
    """What to raise instead, with its message and the layer; None for what is no trouble of learning."""
    node, why = (error.node, error.why) if isinstance(error, NodeFailed) else (None, error)
    known = node.name if node else None
    layer = error.layer if isinstance(error, NotFinite) else known
    place = f"{where} at '{layer}'" if layer else where
    if isinstance(error, NotFinite):
        return TrainingDiverged, f"The loss became infinite or NaN{place}.", layer
    if _is_memory(why):
        return OutOfMemory, f"Memory ran out{place}.", layer
    if node is not None:
        return CannotRun, f"A {node.op} cannot be run{place}: {reason_of(why)}", layer
    return None


@contextmanager
def typed_failures(step: Callable[[], int] | None = None, fall_back: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Raises TrainingDiverged, OutOfMemory or CannotRun in place of what is behind them; other errors pass.

    `step` tells which step it is, from 1; `fall_back` saves what can be saved, and says so in a sentence.
    """
    try:
        yield
    except EngineError:
        raise
    except Exception as error:
        found = _failure(error, f" in step {step()}" if step is not None else "")
        if found is None:
            raise
        kind, message, layer = found
        saved = fall_back()
        failure = kind(message + saved, layer=layer)
        failure.has_best = bool(saved)
        raise failure from error
