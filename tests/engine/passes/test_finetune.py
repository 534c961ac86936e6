"""Learning: accuracy comes back, zeros stay, the same seed gives the same weights."""

from pathlib import Path

import numpy as np
import pytest

from tests.engine import models
from tests.engine.models import accuracy
from whetstone.contract.failures import FailureCode
from whetstone.contract.learning import EarlyStopping, Finetune, OptimizerName
from whetstone.contract.losses import LabelLoss
from whetstone.contract.pruning import Prune
from whetstone.contract.quantization import Quantize
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import count_nonzero
from workers.engine.passes.finetune import FinetunePass
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.prune import PrunePass
from workers.engine.passes.quantize import QuantizePass


def test_recovers_a_pruned_network_and_holds_its_zeros(trained: Graph, digits: Samples, context: Context) -> None:
    pruned = PrunePass(Prune(sparsity=0.96)).apply(trained, digits, context).graph
    outcome = FinetunePass(Finetune(epochs=4)).apply(pruned, digits, context)
    assert accuracy(outcome.graph, digits) > accuracy(pruned, digits) + 0.05
    for name in ("w1", "w2"):
        assert ((outcome.graph.weight(name) == 0) >= (pruned.weight(name) == 0)).all()
    assert [curve.name for curve in outcome.curves] == ["training loss", "validation loss", "validation accuracy"]
    assert all(len(curve.y) == 4 for curve in outcome.curves)


def test_zeros_may_grow_if_not_held(trained: Graph, digits: Samples, context: Context) -> None:
    pruned = PrunePass(Prune(sparsity=0.9)).apply(trained, digits, context).graph
    outcome = FinetunePass(Finetune(epochs=1, hold_sparsity=False)).apply(pruned, digits, context)
    assert count_nonzero(outcome.graph) > 2 * count_nonzero(pruned)


@pytest.mark.parametrize("optimizer", OptimizerName)
def test_same_seed_gives_the_same_weights(digits: Samples, context: Context, optimizer: OptimizerName) -> None:
    graph, config = Graph(models.random_mlp()), Finetune(epochs=1, optimizer=optimizer, seed=5)
    first, second = (FinetunePass(config).apply(graph, digits, context).graph for _ in range(2))
    other = FinetunePass(config.model_copy(update={"seed": 6})).apply(graph, digits, context).graph
    assert (first.weight("w1") == second.weight("w1")).all()
    assert (first.weight("w1") != other.weight("w1")).any()


def test_softmax_at_the_end_learns_as_well_as_logits(digits: Samples, context: Context) -> None:
    config = Finetune(epochs=4)
    with_softmax, without = (
        FinetunePass(config).apply(Graph(models.random_mlp(softmax=softmax)), digits, context).graph
        for softmax in (True, False)
    )
    assert np.allclose(with_softmax.weight("w1"), without.weight("w1"), atol=1e-6)
    assert accuracy(with_softmax, digits) > 0.8


def test_convolutions_and_normalizations_learn(digits: Samples, context: Context) -> None:
    graph = Graph(models.cnn())
    outcome = FinetunePass(Finetune(epochs=3, learning_rate=0.01)).apply(graph, digits, context)
    losses = next(curve for curve in outcome.curves if curve.name == "training loss").y
    assert losses[-1] < 0.8 * losses[0]
    assert not np.allclose(outcome.graph.weight("mean"), graph.weight("mean"))


def test_early_stopping_keeps_the_best_epoch(trained: Graph, digits: Samples, context: Context) -> None:
    config = Finetune(epochs=30, learning_rate=0.03, early_stopping=EarlyStopping(patience=2))
    outcome = FinetunePass(config).apply(trained, digits, context)
    losses = next(curve for curve in outcome.curves if curve.name == "validation loss").y
    best = int(np.argmin(losses)) + 1
    assert len(losses) == best + 2 < 30
    assert f"epoch {best}," in outcome.summary


def test_quantized_network_learns(trained: Graph, digits: Samples, context: Context) -> None:
    quantized = QuantizePass(Quantize()).apply(trained, digits, context).graph
    outcome = FinetunePass(Finetune(epochs=1)).apply(quantized, digits, context)
    assert outcome.graph.weight("w1_quantized").dtype == np.int8
    assert (outcome.graph.weight("w1_quantized") != quantized.weight("w1_quantized")).any()
    assert accuracy(outcome.graph, digits) > accuracy(trained, digits) - 0.01


def test_regression_learns_with_mse(tmp_path: Path, context: Context) -> None:
    generator = np.random.default_rng(0)
    x, true = generator.standard_normal((200, 4)).astype(np.float32), np.array([[1], [-2], [3], [0]], np.float32)
    np.savez(tmp_path / "d.npz", x=x, labels=(x @ true)[:, 0])
    body = "g (float[N,4] x) => (float[N,1] y) { y = MatMul(x, w) }"
    graph = Graph(models.with_weights(models.parsed(body), w=np.zeros((4, 1), np.float32)))
    config = Finetune(epochs=60, loss=LabelLoss.MSE, learning_rate=0.1, hold_sparsity=False)
    outcome = FinetunePass(config).apply(graph, open_dataset(tmp_path / "d.npz", tmp_path), context)
    assert np.abs(outcome.graph.weight("w") - true).max() < 0.05
    assert "validation loss" in outcome.summary


def test_model_with_fixed_batch_learns_sample_by_sample(tmp_path: Path, context: Context) -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((60, 4)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, labels=(x[:, 0] > 0).astype(np.int64))
    body = "g (float[1,4] x) => (float[1,2] y) { y = Gemm(x, w) }"
    weights = generator.standard_normal((4, 2)).astype(np.float32)
    graph = Graph(models.with_weights(models.parsed(body), w=weights))
    outcome = FinetunePass(Finetune(epochs=2, batch_size=8)).apply(
        graph, open_dataset(tmp_path / "d.npz", tmp_path), context
    )
    assert (outcome.graph.weight("w") != weights).all()


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_divergence_is_named(trained: Graph, digits: Samples, context: Context) -> None:
    config = Finetune(epochs=3, learning_rate=10, optimizer=OptimizerName.SGD)
    blown = trained.copy()
    blown.set_weight("w1", trained.weight("w1") * np.float32(1e38))
    with pytest.raises(EngineError, match="NaN in step") as caught:
        FinetunePass(config).apply(blown, digits, context)
    assert caught.value.code == FailureCode.TRAINING_DIVERGED
    assert caught.value.layer is not None


def bad(tmp_path: Path, **arrays: object) -> Samples:
    np.savez(tmp_path / "bad.npz", **arrays)  # type: ignore[arg-type]
    return open_dataset(tmp_path / "bad.npz", tmp_path)


X = np.zeros((20, 1, 28, 28), np.float32)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": X}, "has no model model"),
        ({"test/x": X, "test/labels": np.zeros(20, np.int64)}, "no train split"),
        ({"x": X, "labels": np.full(20, 10)}, "go up to 10, but the model tells 10 classes"),
        ({"x": X, "labels": np.zeros(20, np.float32)}, "Targets of shape"),
        ({"x": X, "labels": np.zeros((20, 3), np.int64)}, "do not go with outputs"),
        ({"train/x": X[:1], "train/labels": np.zeros(1, np.int64)}, "at least 2"),
    ],
)
def test_unfit_labels_are_refused(tmp_path: Path, context: Context, arrays: dict[str, object], told: str) -> None:
    with pytest.raises(EngineError, match=told):
        FinetunePass(Finetune(epochs=1)).apply(Graph(models.random_mlp()), bad(tmp_path, **arrays), context)
