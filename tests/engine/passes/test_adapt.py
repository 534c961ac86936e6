"""Another domain: turned, faint and noisy digits without labels, for a network that was taught on plain ones."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.engine import models
from tests.engine.models import accuracy
from whetstone.contract.adaptation import Adapt, BatchNormStatistics, Coral, Method, Mmd, SelfDistillation
from whetstone.contract.datasets import Split
from whetstone.contract.failures import FailureCode
from whetstone.contract.learning import CosineRate, Finetune, Learning
from workers.engine.data.samples import Samples
from workers.engine.data.splits import Part
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.graph.trainable import NotTrainable
from workers.engine.passes.adapt import AdaptPass
from workers.engine.passes.errors import NeedsDataset, NothingToDo
from workers.engine.passes.finetune import FinetunePass
from workers.engine.passes.graph_pass import Context
from workers.engine.training.alignment import NoFeatures
from workers.engine.training.objective import UnknownTensor

SOURCE = "dat_01h2xcejqtf2nbrexx3vqjhp41"
LEARNING = Learning(epochs=4, batch_size=64)
ALIGNING = (Coral(source=SOURCE, weight=10, learning=LEARNING), Mmd(source=SOURCE, learning=LEARNING))


def shifted(digits: Samples, scale: float, offset: float, noise: float = 0.0) -> Samples:
    """The digits in other light, with labels only to test by."""
    random = np.random.default_rng(0)
    parts = {}
    for split in (Split.TRAIN, Split.TEST):
        (batch,) = digits.batches(split, 10_000, with_labels=True)
        x = scale * batch.inputs["x"] + offset + random.normal(0, noise, batch.inputs["x"].shape)
        parts[split] = Part({"x": x.astype(np.float32)}, batch.labels if split is Split.TEST else None)
    return Samples(parts, made_splits=False)


@pytest.fixture(scope="module")
def sure_cnn(trained_cnn: Graph, digits: Samples, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """The network, taught until it is sure of what it sees."""
    config = Finetune(epochs=12, learning_rate=3e-3, schedule=CosineRate())
    return FinetunePass(config).apply(trained_cnn, digits, Context(tmp_path_factory.mktemp("sure"))).graph


@pytest.fixture
def context(tmp_path: Path, digits: Samples) -> Context:
    return Context(tmp_path, source=lambda _: digits)


@pytest.fixture(scope="module")
def faint(digits: Samples) -> Samples:
    return shifted(digits, 0.3, 0.6)


def test_statistics_of_the_new_domain_bring_accuracy_back(sure_cnn: Graph, faint: Samples, context: Context) -> None:
    outcome = AdaptPass(Adapt()).apply(sure_cnn, faint, context)
    assert accuracy(sure_cnn, faint) < 0.5
    assert accuracy(outcome.graph, faint) > 0.85
    assert [layer.op for layer in outcome.layers] == ["BatchNormalization"] * 4
    assert (outcome.graph.weight("k1_weight") == sure_cnn.weight("k1_weight")).all()


def test_statistics_are_those_of_the_samples(sure_cnn: Graph, faint: Samples, context: Context) -> None:
    """The first batch-norm's mean is what the convolution before it makes of the samples, by onnxruntime."""
    after = AdaptPass(Adapt(method=BatchNormStatistics(samples=200))).apply(sure_cnn, faint, context).graph
    rows = np.sort(np.random.default_rng(0).permutation(faint.count(Split.TRAIN))[:200])
    (batch,) = faint.batches(Split.TRAIN, 200, within=rows)
    first = next(node for node in sure_cnn.nodes if node.op_type == "Conv")
    body = """g (float[N,1,28,28] x) => (float[N,16,14,14] y) {
        y = Conv <kernel_shape = [3,3], pads = [1,1,1,1], strides = [2,2]> (x, k, b) }"""
    kernel, bias = (np.asarray(sure_cnn.weight(name)) for name in first.input[1:])
    (made,) = models.run(models.with_weights(models.parsed(body), k=kernel, b=bias), **batch.inputs)
    norm = next(node for node in after.nodes if node.op_type == "BatchNormalization")
    assert after.weight(norm.input[3]) == pytest.approx(made.mean((0, 2, 3)), abs=1e-5)
    assert after.weight(norm.input[4]) == pytest.approx(made.var((0, 2, 3)), abs=1e-5)


@pytest.mark.parametrize("method", ALIGNING, ids=lambda method: method.kind)
def test_alignment_gains_on_statistics_alone(
    sure_cnn: Graph, digits: Samples, context: Context, method: Coral | Mmd
) -> None:
    noisy = shifted(digits, 0.5, 0.5, noise=0.12)
    statistics = AdaptPass(Adapt()).apply(sure_cnn, noisy, context).graph
    outcome = AdaptPass(Adapt(method=method)).apply(sure_cnn, noisy, context)
    assert accuracy(outcome.graph, noisy) > accuracy(statistics, noisy) + 0.02
    assert accuracy(outcome.graph, noisy) > accuracy(sure_cnn, noisy) + 0.2
    assert "Aligned 'f'" in outcome.summary
    assert "learned from labels" in outcome.notes[0]
    assert "4 batch-norms were measured anew" in outcome.notes[1]


def test_without_labels_of_the_source_the_model_itself_is_the_teacher(
    trained: Graph, digits: Samples, faint: Samples, tmp_path: Path
) -> None:
    (batch,) = digits.batches(Split.TRAIN, 10_000)
    source = Samples({Split.TRAIN: Part(batch.inputs, None)}, made_splits=False)
    context = Context(tmp_path, source=lambda _: source)
    method = Mmd(source=SOURCE, tensor="h", learning=LEARNING)
    outcome = AdaptPass(Adapt(method=method)).apply(trained, faint, context)
    assert accuracy(outcome.graph, faint) > accuracy(trained, faint) + 0.1
    assert outcome.notes == ("On the source it learned from what the model itself made of it.",)


def test_what_the_model_is_sure_of_teaches_the_rest(sure_cnn: Graph, digits: Samples, context: Context) -> None:
    noisy = shifted(digits, 0.5, 0.5, noise=0.12)
    start = AdaptPass(Adapt()).apply(sure_cnn, noisy, context).graph
    method = SelfDistillation(confidence=0.8, learning=LEARNING)
    outcome = AdaptPass(Adapt(method=method)).apply(start, noisy, context)
    assert accuracy(outcome.graph, noisy) > accuracy(start, noisy) + 0.02
    assert "sure of" in outcome.notes[0]


def test_a_moving_average_teaches_too(sure_cnn: Graph, faint: Samples, context: Context) -> None:
    """One that keeps nearly all of itself is the graph as it was; one that keeps little is nearly the student."""
    start = AdaptPass(Adapt()).apply(sure_cnn, faint, context).graph
    still, slow, quick = (
        AdaptPass(Adapt(method=SelfDistillation(confidence=0.7, average=average, learning=LEARNING)))
        .apply(start, faint, context)
        .graph.weight("k1_weight")
        for average in (None, 1 - 1e-9, 0.5)
    )
    assert np.allclose(still, slow, atol=1e-4)
    assert not np.allclose(still, quick, atol=1e-3)


def test_the_same_seed_gives_the_same_weights(sure_cnn: Graph, faint: Samples, context: Context) -> None:
    method = Mmd(source=SOURCE, learning=Learning(epochs=1))
    one, other = (AdaptPass(Adapt(method=method)).apply(sure_cnn, faint, context).graph for _ in range(2))
    assert (one.weight("k1_weight") == other.weight("k1_weight")).all()


def test_a_model_that_takes_one_sample_at_a_time_is_measured_so(context: Context) -> None:
    body = "g (float[1,2,3] x) => (float[1,2,3] y) { y = BatchNormalization (x, one, zero, zero, one) }"
    model = models.with_weights(models.parsed(body), one=np.ones(2, np.float32), zero=np.zeros(2, np.float32))
    x = np.random.default_rng(0).normal(3, 2, (40, 2, 3)).astype(np.float32)
    data = Samples({Split.TRAIN: Part({"x": x}, None)}, made_splits=False)
    after = AdaptPass(Adapt()).apply(Graph(model), data, context).graph
    (norm,) = after.nodes
    assert after.weight(norm.input[3]) == pytest.approx(x.mean((0, 2)), abs=1e-5)
    assert after.weight(norm.input[4]) == pytest.approx(x.var((0, 2)), abs=1e-4)


@pytest.mark.parametrize(
    ("method", "told"),
    [
        (BatchNormStatistics(), "folded into convolutions"),
        (SelfDistillation(confidence=0.999999, learning=LEARNING), "sure of no sample"),
    ],
)
def test_nothing_to_do_is_said(faint: Samples, context: Context, method: Method, told: str) -> None:
    with pytest.raises(NothingToDo, match=told):
        AdaptPass(Adapt(method=method)).apply(Graph(models.random_mlp()), faint, context)


@pytest.mark.parametrize("method", ALIGNING, ids=lambda method: method.kind)
def test_what_cannot_be_aligned_is_refused(faint: Samples, context: Context, method: Coral | Mmd) -> None:
    linear = "g (float[N,1,28,28] x) => (float[N,10] y) { f = Flatten(x) y = Gemm(f, w) }"
    weights = np.zeros((784, 10), np.float32)
    flat = Graph(models.with_weights(models.parsed(linear), w=weights))
    with pytest.raises(NothingToDo, match="no layer with weights before"):
        AdaptPass(Adapt(method=method)).apply(flat, faint, context)
    fixed = Graph(models.with_weights(models.parsed(linear.replace("N", "1")), w=weights))
    with pytest.raises(NotTrainable, match="one sample at a time"):
        AdaptPass(Adapt(method=method)).apply(fixed, faint, context)
    named = method.model_copy(update={"tensor": "nowhere"})
    with pytest.raises(UnknownTensor, match="nearest name"):
        AdaptPass(Adapt(method=named)).apply(flat, faint, context)


def test_a_tensor_without_channels_is_refused(faint: Samples, context: Context) -> None:
    body = """g (float[N,1,28,28] x) => (float[N,10] y) {
        f = Flatten(x) h = Gemm(f, w) s = ReduceSum <keepdims = 0> (h, one) y = Gemm(f, v) }"""
    shapes = {"w": (784, 4), "v": (784, 10)}
    weights = {name: np.full(shape, 0.01, np.float32) for name, shape in shapes.items()}
    graph = Graph(models.with_weights(models.parsed(body), one=np.array([1]), **weights))
    with pytest.raises(NoFeatures, match="no axis of channels"):
        AdaptPass(Adapt(method=Mmd(source=SOURCE, tensor="s", learning=LEARNING))).apply(graph, faint, context)


def test_samples_of_the_new_domain_are_needed(sure_cnn: Graph, faint: Samples, context: Context) -> None:
    (batch,) = faint.batches(Split.TEST, 10_000)
    for data in (None, Samples({Split.TEST: Part(batch.inputs, None)}, made_splits=False)):
        with pytest.raises(NeedsDataset, match="new domain"):
            AdaptPass(Adapt()).apply(sure_cnn, data, context)


def test_a_source_is_needed(sure_cnn: Graph, faint: Samples, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="source domain") as caught:
        AdaptPass(Adapt(method=ALIGNING[0])).apply(sure_cnn, faint, Context(tmp_path))
    assert caught.value.code is FailureCode.DATASET_REQUIRED


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValidationError, match="labels"):
        SelfDistillation.model_validate({"learning": {"loss": "cross_entropy"}})
    with pytest.raises(ValidationError, match="2 or more"):
        Coral.model_validate({"source": SOURCE, "learning": {"batch_size": 1}})
    with pytest.raises(ValidationError, match="source"):
        Mmd.model_validate({})
