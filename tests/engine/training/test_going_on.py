"""The whole step: a state that it told of takes a second attempt to the same model, byte for byte."""

from pathlib import Path

import pytest

from tests.engine import models
from tests.engine.test_optimize import request
from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.learning import Finetune, Learning
from whetstone.contract.passes import Simplify
from whetstone.contract.pruning import Granularity, Polynomial, Prune
from whetstone.contract.quantization import Quantize
from whetstone.contract.steps import InputRole, Optimize, Optimized
from workers.engine.graph.graph import Graph
from workers.engine.optimize import optimize
from workers.engine.request import LearningSaved, Message, PassDone

LEARNING = Finetune(epochs=2, batch_size=128, checkpoint_every=3)
SCHEDULE = Polynomial(
    begin_step=2, end_step=16, every=5, learning=Learning(epochs=2, batch_size=128, checkpoint_every=3)
)
PRUNING = Prune(sparsity=0.6, schedule=SCHEDULE)
TASKS = {
    "in float": Optimize(passes=(Simplify(), LEARNING)),
    "while pruning weights": Optimize(passes=(Simplify(), PRUNING)),
    "while cutting channels": Optimize(
        passes=(Simplify(), PRUNING.model_copy(update={"granularity": Granularity.CHANNEL}))
    ),
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
    undisturbed = optimize(first, task, lambda _: None).result
    assert isinstance(undisturbed, Optimized)
    whole_curves = undisturbed.passes[1].curves
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
    rest: list[Message] = []
    done = optimize(request(tmp_path, again, **given), again, rest.append)
    assert (first.outputs / "model.onnx").read_bytes() == whole
    assert isinstance(done.result, Optimized)
    assert done.result.passes[1].curves == whole_curves
    assert next(m.file.name for m in rest if isinstance(m, LearningSaved)) == "learning-2-12.safetensors"
    if isinstance(done.result.passes[1].config, Finetune):
        assert "Went on from step 9 of an earlier attempt." in done.result.passes[1].notes
