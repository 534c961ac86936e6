"""The whole step: a state that it told of takes a second attempt to the same model, byte for byte."""

from pathlib import Path

import pytest

from tests.engine import models
from tests.engine.test_optimize import request
from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.learning import Finetune
from whetstone.contract.passes import Simplify
from whetstone.contract.quantization import Quantize
from whetstone.contract.steps import InputRole, Optimize, Optimized
from workers.engine.graph.graph import Graph
from workers.engine.optimize import optimize
from workers.engine.request import LearningSaved, Message, PassDone

LEARNING = Finetune(epochs=2, batch_size=128, checkpoint_every=3)
TASKS = {
    "in float": Optimize(passes=(Simplify(), LEARNING)),
    "in integers": Optimize(passes=(Quantize(), LEARNING.model_copy(update={"learn_scales": True}))),
}


class WorkerLost(Exception):
    """In the middle of it."""


@pytest.mark.parametrize("kind", TASKS)
def test_an_optimize_step_goes_on_within_a_pass(tmp_path: Path, trained: Graph, digits_file: Path, kind: str) -> None:
    task = TASKS[kind]
    model = models.saved(trained, tmp_path / "upload")
    given = {InputRole.MODEL: model, InputRole.DATASET: digits_file}
    told: list[Message] = []

    def lost_at_the_third_state(message: Message) -> None:
        told.append(message)
        if sum(isinstance(m, LearningSaved) for m in told) == 3:
            raise WorkerLost

    first = request(tmp_path, task, **given)
    optimize(first, task, lambda _: None)
    whole = (first.outputs / "model.onnx").read_bytes()
    with pytest.raises(WorkerLost):
        optimize(first, task, lost_at_the_third_state)

    before = next(m for m in told if isinstance(m, PassDone))
    saved = next(m for m in reversed(told) if isinstance(m, LearningSaved))
    assert (saved.file.name, saved.file.kind) == ("learning-2-9.safetensors", ArtifactKind.LEARNING_STATE)
    again = task.model_copy(update={"done": before.passes})
    given[InputRole.CHECKPOINT] = (first.outputs / before.file.name).rename(tmp_path / "checkpoint")
    given[InputRole.LEARNING_STATE] = (first.outputs / saved.file.name).rename(tmp_path / "state")
    (first.outputs / "model.onnx").unlink()
    done = optimize(request(tmp_path, again, **given), again, lambda _: None)
    assert (first.outputs / "model.onnx").read_bytes() == whole
    assert isinstance(done.result, Optimized)
    assert "Went on from step 9 of an earlier attempt." in done.result.passes[1].notes
