"""The loop: the closed form is reached, a step does not depend on how it is cut up, trouble is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine import models
from whetstone.contract.learning import Learning, Mode, OptimizerName, Precision
from whetstone.contract.losses import LabelLoss
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.graph.trainable import Trainable
from workers.engine.passes.learning import trainable
from workers.engine.training.course import Course
from workers.engine.training.gradients import NeedsCuda
from workers.engine.training.loop import Learned, learn
from workers.engine.training.schedule import DatasetTooSmall
from workers.engine.training.trouble import CannotRun, OutOfMemory, TrainingDiverged


def samples(folder: Path, **arrays: np.ndarray[Any, Any]) -> Samples:
    np.savez(folder / "d.npz", **arrays)
    return open_dataset(folder / "d.npz", folder)


def taught(graph: Graph, data: Samples, learning: Learning, **more: Any) -> tuple[Trainable, Learned]:
    module, objective = trainable(graph, learning.loss, data)
    return module, learn(module, Course(data, learning, objective, 1, **more))


def weight(module: Trainable, name: str) -> torch.Tensor:
    return module.weights[name].detach()


def line() -> Graph:
    """A line y = x W + b, with zeros to start from: θ1 is W, θ0 is b."""
    body = "g (float[N,1] x) => (float[N,1] y) { y = Gemm(x, theta1, theta0) }"
    zeros = {"theta1": np.zeros((1, 1), np.float32), "theta0": np.zeros(1, np.float32)}
    return Graph(models.with_weights(models.parsed(body), **zeros))


def test_gradient_descent_reaches_least_squares(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = generator.uniform(-2, 2, (40, 1)).astype(np.float32)
    y = (1.5 - 0.7 * x[:, 0] + generator.normal(0, 0.3, 40)).astype(np.float32)
    data = samples(tmp_path, **{"train/x": x, "train/labels": y})
    learning = Learning(epochs=1500, optimizer=OptimizerName.GD, learning_rate=0.01, batch_size=16)
    module, learned = taught(line(), data, learning, validation_fraction=0.01)
    assert learned.steps == 1500

    held_out = int(np.random.default_rng(0).permutation(40)[0])
    rows = [row for row in range(40) if row != held_out]
    slope, intercept = np.polyfit(x[rows, 0], y[rows], 1)
    assert float(weight(module, "theta1")) == pytest.approx(slope, abs=1e-3)
    assert float(weight(module, "theta0")) == pytest.approx(intercept, abs=1e-3)


def test_accumulated_batches_make_the_step_of_one_large_batch(digits: Samples) -> None:
    graph = Graph(models.random_mlp())
    large, small = (
        taught(graph, digits, Learning(epochs=1, batch_size=size, accumulate=count, optimizer=OptimizerName.SGD))
        for size, count in ((96, 1), (32, 3))
    )
    assert large[1].steps == small[1].steps
    assert torch.allclose(weight(large[0], "w1"), weight(small[0], "w1"), atol=1e-6)


def test_penalty_makes_weights_small(digits: Samples) -> None:
    graph = Graph(models.random_mlp())
    plain, penalized = (
        taught(graph, digits, Learning(epochs=2, l1_penalty=penalty, clip_norm=5))[0] for penalty in (0, 0.01)
    )
    assert weight(penalized, "w1").abs().sum() < 0.5 * weight(plain, "w1").abs().sum()


def test_frozen_batch_norm_keeps_its_statistics(digits: Samples) -> None:
    graph = Graph(models.cnn())
    moved, kept = (
        taught(graph, digits, Learning(epochs=1, batch_norm=mode))[0].state_dict() for mode in (Mode.TRAIN, Mode.FROZEN)
    )
    old = Trainable(graph).state_dict()
    statistics = [name for name, _ in Trainable(graph).named_buffers()]
    assert len(statistics) == 2
    assert all(torch.equal(kept[name], old[name]) for name in statistics)
    assert not any(torch.equal(moved[name], old[name]) for name in statistics)


def with_dropout() -> Graph:
    body = """g (float[N,1,28,28] x) => (float[N,10] y) {
        flat = Flatten(x)
        kept = Dropout(flat)
        y = Gemm(kept, w, b)
    }"""
    w = (np.random.default_rng(0).standard_normal((784, 10)) * 0.05).astype(np.float32)
    return Graph(models.with_weights(models.parsed(body), w=w, b=np.zeros(10, np.float32)))


def test_dropout_is_active_when_asked(digits: Samples) -> None:
    dropped, again, whole = (
        weight(taught(with_dropout(), digits, Learning(epochs=1, dropout=dropout))[0], "w")
        for dropout in (True, True, False)
    )
    assert torch.equal(dropped, again)
    assert not torch.allclose(dropped, whole, atol=1e-3)


def test_binary_labels_of_a_single_output_are_learned(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
    body = "g (float[N,4] x) => (float[N,1] p) { z = MatMul(x, w) p = Sigmoid(z) }"
    graph = Graph(models.with_weights(models.parsed(body), w=np.zeros((4, 1), np.float32)))
    data = samples(tmp_path, x=x, labels=(x[:, 1] > 0).astype(np.int64))
    learned = taught(graph, data, Learning(epochs=20, learning_rate=0.1))[1]
    assert (learned.epochs[-1].validation_accuracy or 0) > 0.9


@pytest.mark.parametrize("loss", [LabelLoss.L1, LabelLoss.HUBER])
def test_robust_losses_ignore_what_is_far_off(tmp_path: Path, loss: LabelLoss) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (200, 1)).astype(np.float32)
    y = 2 * x[:, 0]
    y[:10] = 1000
    learning = Learning(epochs=60, learning_rate=0.05, loss=loss, batch_size=32)
    module, _ = taught(line(), samples(tmp_path, **{"train/x": x, "train/labels": y}), learning)
    assert float(weight(module, "theta1")) == pytest.approx(2, abs=0.3)


def test_divergence_names_the_step_and_leaves_the_best_weights(tmp_path: Path) -> None:
    x = np.ones((64, 1), np.float32)
    data = samples(tmp_path, **{"train/x": x, "train/labels": x[:, 0]})
    learning = Learning(epochs=500, optimizer=OptimizerName.SGD, learning_rate=10, batch_size=64)
    module, objective = trainable(line(), None, data)
    with pytest.raises(TrainingDiverged, match=r"in step \d+.* Until then epoch 1 was the best"):
        learn(module, Course(data, learning, objective, 1))
    assert torch.isfinite(weight(module, "theta1")).all()


def test_memory_that_runs_out_is_told(tmp_path: Path) -> None:
    body = """g (float[N,1] x) => (float[N,1] y) {
        product = MatMul(x, w)
        shape = Constant <value_ints = [1, 4000000000000]> ()
        wide = Expand(product, shape)
        made = Relu(wide)
        y = ReduceSum <keepdims = 1> (made, axes)
    }"""
    constants = {"axes": np.array([1]), "w": np.ones((1, 1), np.float32)}
    graph = Graph(models.with_weights(models.parsed(body), **constants))
    data = samples(tmp_path, x=np.ones((20, 1), np.float32), labels=np.ones(20, np.float32))
    with pytest.raises(OutOfMemory, match="Memory ran out in step 1 at 'made'") as caught:
        taught(graph, data, Learning(loss=LabelLoss.MSE))
    assert caught.value.layer == "made"


def test_a_lone_sample_that_cannot_be_normalized_is_told_with_its_layer(tmp_path: Path) -> None:
    body = "g (float[N,3] x) => (float[N,3] y) { [norm] y = BatchNormalization(x, s, b, m, v) }"
    vectors = {"s": np.ones(3), "b": np.zeros(3), "m": np.zeros(3), "v": np.ones(3)}
    graph = Graph(models.with_weights(models.parsed(body), **{n: v.astype(np.float32) for n, v in vectors.items()}))
    x = np.ones((2, 3), np.float32)
    with pytest.raises(CannotRun, match="A BatchNormalization cannot be run in step 1 at 'norm'") as caught:
        taught(graph, samples(tmp_path, **{"train/x": x, "train/labels": np.array([0, 1])}), Learning())
    assert caught.value.layer == "norm"


def test_validation_that_is_not_finite_names_the_layer(tmp_path: Path) -> None:
    body = "g (float[N,1] x) => (float[N,1] y) { [bad] h = Log(x) y = Gemm(h, w) }"
    graph = Graph(models.with_weights(models.parsed(body), w=np.ones((1, 1), np.float32)))
    x = np.ones((40, 1), np.float32)
    held_out = np.random.default_rng(0).permutation(40)[:4]
    x[held_out] = -1
    data = samples(tmp_path, **{"train/x": x, "train/labels": x[:, 0]})
    with pytest.raises(TrainingDiverged, match="at 'bad'"):
        taught(graph, data, Learning())


def test_one_sample_is_too_few(tmp_path: Path) -> None:
    data = samples(tmp_path, **{"train/x": np.ones((1, 1), np.float32), "train/labels": np.ones(1, np.float32)})
    with pytest.raises(DatasetTooSmall, match="at least 2"):
        taught(line(), data, Learning())


@pytest.mark.skipif(torch.cuda.is_available(), reason="refused only where there is no CUDA device")
def test_mixed_precision_is_refused_on_the_cpu(tmp_path: Path) -> None:
    data = samples(tmp_path, x=np.ones((20, 1), np.float32), labels=np.ones(20, np.float32))
    with pytest.raises(NeedsCuda):
        taught(line(), data, Learning(precision=Precision.MIXED))


def test_a_loss_that_does_not_fit_is_an_engine_error(tmp_path: Path) -> None:
    data = samples(tmp_path, x=np.ones((20, 1), np.float32), labels=np.ones(20, np.float32))
    with pytest.raises(EngineError, match="wants class ids"):
        taught(line(), data, Learning(loss=LabelLoss.CROSS_ENTROPY))
