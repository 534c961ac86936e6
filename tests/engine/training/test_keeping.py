"""An attempt that goes on from what another left ends with the same weights, bit for bit."""

from pathlib import Path

import pytest
import torch

from tests.engine import models
from whetstone.contract.augmentation import Noise, Rotate
from whetstone.contract.learning import CosineRate, EarlyStopping, Learning, OptimizerName
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph
from workers.engine.passes.learning import trainable
from workers.engine.training.course import Course
from workers.engine.training.keeping import Keeper, Write
from workers.engine.training.loop import Hooks, Learned, learn


class Interrupted(Exception):
    """The worker goes away."""


def graph() -> Graph:
    """The CNN, with dropout before its last layer."""
    model = models.cnn()
    dropout = models.parsed("g (float[N,8] f) => (float[N,8] g) { kept = Dropout(f) }").graph.node[0]
    model.graph.node[-1].input[0] = "kept"
    model.graph.node.insert(len(model.graph.node) - 1, dropout)
    return Graph(model)


def run(
    data: Samples, learning: Learning, *, keeper: Keeper | None, stop_at: int | None = None
) -> tuple[dict[str, torch.Tensor], Learned]:
    def after_step(step: int) -> None:
        if step == stop_at:
            raise Interrupted

    module, objective = trainable(graph(), None, data)
    learned = learn(module, Course(data, learning, objective, 1, hooks=Hooks(after_step), keeper=keeper))
    return module.state_dict(), learned


def keeper(folder: Path, every: int, saved: Path | None = None, name: str = "pass 0") -> Keeper:
    def save(steps: int, write: Write) -> None:
        write(folder / f"{steps}.safetensors")

    return Keeper(name, every, save, saved)


LEARNINGS = [
    Learning(epochs=3, batch_size=128, schedule=CosineRate(), warmup_steps=3, early_stopping=EarlyStopping()),
    Learning(epochs=3, batch_size=128, optimizer=OptimizerName.SGD, momentum=0.9, augment=(Rotate(),)),
    Learning(epochs=3, batch_size=64, accumulate=2, optimizer=OptimizerName.ADAMW, weight_decay=0.01),
]


@pytest.mark.parametrize("learning", LEARNINGS)
@pytest.mark.parametrize("stop_at", [14, 20])  # in the middle of the second epoch, and at its end
def test_goes_on_bit_for_bit(digits: Samples, tmp_path: Path, learning: Learning, stop_at: int) -> None:
    whole, at_once = run(digits, learning, keeper=None)
    with pytest.raises(Interrupted):
        run(digits, learning, keeper=keeper(tmp_path, 2), stop_at=stop_at)
    saved = tmp_path / f"{stop_at - 2}.safetensors"
    assert not (tmp_path / f"{stop_at}.safetensors").exists()
    resumed, in_two = run(digits, learning, keeper=keeper(tmp_path, 2, saved))
    assert in_two.resumed_at == stop_at - 2
    assert in_two.epochs == at_once.epochs
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("change", ["settings", "pass"])
def test_a_state_of_something_else_is_left_alone(digits: Samples, tmp_path: Path, change: str) -> None:
    learning = Learning(epochs=1, batch_size=256)
    run(digits, learning, keeper=keeper(tmp_path, 2))
    saved = tmp_path / "2.safetensors"
    other = learning.model_copy(update={"seed": 1}) if change == "settings" else learning
    name = "pass 1" if change == "pass" else "pass 0"
    assert run(digits, other, keeper=keeper(tmp_path, 100, saved, name))[1].resumed_at == 0
    assert run(digits, learning, keeper=keeper(tmp_path, 100, saved))[1].resumed_at == 2


def test_augmentations_that_do_not_fit_are_refused_at_once(digits: Samples) -> None:
    with pytest.raises(Exception, match="'noise' takes 2 or 3 axes"):
        run(digits, Learning(augment=(Noise(),)), keeper=None)
