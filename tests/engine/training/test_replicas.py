"""Two processes learn what one does."""

from pathlib import Path

import psutil
import pytest
import torch

from tests.engine import models
from whetstone.contract.augmentation import Mixup
from whetstone.contract.learning import Learning, Mode, OptimizerName
from whetstone.contract.losses import CrossEntropy, SoftLabels
from whetstone.contract.quantization import Quantize
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph
from workers.engine.graph.trainable import Trainable
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.learning import module_for
from workers.engine.passes.quantize import QuantizePass
from workers.engine.training.course import Course
from workers.engine.training.loop import Hooks, learn
from workers.engine.training.objective import aims_of
from workers.engine.training.replicas import ReplicaLost, TooManyProcesses

LEARNING = Learning(
    epochs=1,
    batch_size=100,
    accumulate=2,
    optimizer=OptimizerName.SGD,
    learning_rate=0.05,
    batch_norm=Mode.FROZEN,
    augment=(Mixup(),),
)


def quantized(data: Samples, folder: Path) -> Graph:
    return QuantizePass(Quantize()).apply(Graph(models.cnn()), data, Context(folder)).graph


def learned(
    data: Samples, folder: Path, processes: int, threads: int = 2, *, learn_scales: bool = False
) -> tuple[dict[str, torch.Tensor], float]:
    graph, teacher = Graph(models.cnn()), Graph(models.random_mlp())
    if learn_scales:
        graph = quantized(data, folder)
    objective = aims_of(graph, (CrossEntropy(), SoftLabels()), teacher)
    module = module_for(graph, objective, learn_scales=learn_scales)
    course = Course(
        data, LEARNING, objective, threads, teacher=teacher, graph=graph, scratch=folder, processes=processes
    )
    losses = learn(module, course).epochs
    return module.state_dict(), losses[0].loss


def test_two_processes_learn_what_one_does(digits: Samples, tmp_path: Path) -> None:
    alone, loss_alone = learned(digits, tmp_path, 1)
    together, loss_together = learned(digits, tmp_path, 2)
    assert loss_together == pytest.approx(loss_alone, rel=1e-5)
    start = module_for(Graph(models.cnn()), aims_of(Graph(models.cnn()), (CrossEntropy(),))).state_dict()
    assert not torch.allclose(start["w0"], alone["w0"], atol=1e-3)
    assert all(torch.allclose(alone[name], together[name], atol=1e-5) for name in alone)
    assert not list(tmp_path.glob("replicas-*"))


def test_two_processes_learn_the_scales_that_one_does(digits: Samples, tmp_path: Path) -> None:
    alone, _ = learned(digits, tmp_path, 1, learn_scales=True)
    together, _ = learned(digits, tmp_path, 2, learn_scales=True)
    assert all(torch.allclose(alone[name], together[name], atol=1e-3) for name in alone)
    start = Trainable(quantized(digits, tmp_path), learn_scales=True).state_dict()
    assert max(float((start[name] - alone[name]).abs().max()) for name in alone) > 0.02


def test_a_process_that_is_lost_is_told(digits: Samples, tmp_path: Path) -> None:
    graph = Graph(models.cnn())
    objective = aims_of(graph, (CrossEntropy(),))

    def kill(_: int) -> None:
        for child in psutil.Process().children():
            child.kill()

    course = Course(digits, LEARNING, objective, 2, hooks=Hooks(kill), graph=graph, scratch=tmp_path, processes=2)
    with pytest.raises(ReplicaLost, match="Training process 1 ended with status -9"):
        learn(module_for(graph, objective), course)


def test_more_processes_than_cores_are_refused(digits: Samples, tmp_path: Path) -> None:
    with pytest.raises(TooManyProcesses, match="2 processes were asked for; this worker has 1"):
        learned(digits, tmp_path, 2, threads=1)
