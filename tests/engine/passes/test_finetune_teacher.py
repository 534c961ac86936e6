"""Learning from a teacher: from the original, from another model, into another model, with and without data."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.engine import models
from tests.engine.models import accuracy
from whetstone.contract.datasets import Split
from whetstone.contract.learning import Finetune, MadeInputs, OptimizerName
from whetstone.contract.losses import CrossEntropy, Hint, OutputCosine, OutputError, SoftLabels
from whetstone.contract.pruning import Prune
from whetstone.contract.quantization import Quantize
from whetstone.contract.steps import InputRole
from workers.engine.data.errors import DatasetMismatch
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.data.splits import Part
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.passes.errors import NeedsDataset, NeedsModel
from workers.engine.passes.finetune import FinetunePass
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.prune import PrunePass
from workers.engine.passes.quantize import QuantizePass
from workers.engine.passes.student import StudentMismatch
from workers.engine.training.losses import TeacherMismatch
from workers.engine.training.made_inputs import make_inputs
from workers.engine.training.objective import UnknownTensor

ANOTHER = "mdl_01h2xcejqtf2nbrexx3vqjhp41"
With = Callable[..., Context]


@pytest.fixture
def with_models(tmp_path: Path) -> With:
    """A context whose step was given these models, by role."""

    def make(**given: Graph) -> Context:
        return Context(tmp_path, threads=1, model=lambda role: given[role].copy())

    return make


@pytest.fixture
def unlabelled(digits: Samples) -> Samples:
    (batch,) = digits.batches(Split.TRAIN, 10_000)
    return Samples({Split.TRAIN: Part(batch.inputs, None)}, made_splits=False)


def test_without_labels_a_pruned_network_learns_from_the_original(
    trained: Graph, digits: Samples, unlabelled: Samples, context: Context, with_models: With
) -> None:
    pruned = PrunePass(Prune(sparsity=0.96)).apply(trained, digits, context).graph
    outcome = FinetunePass(Finetune(epochs=4)).apply(pruned, unlabelled, with_models(model=trained))
    assert accuracy(outcome.graph, digits) > accuracy(pruned, digits) + 0.05
    assert outcome.notes == ("The teacher was the original model.",)
    assert [curve.name for curve in outcome.curves] == ["training loss", "validation loss"]


@pytest.mark.parametrize(
    "losses",
    [
        (SoftLabels(temperature=3),),
        (CrossEntropy(label_smoothing=0.1, weight=0.3), SoftLabels(weight=0.7)),
        (OutputError(), Hint(student="h", teacher="h", weight=0.1)),
        (OutputCosine(weight=5),),
    ],
)
def test_a_student_learns_from_a_teacher(
    trained: Graph, digits: Samples, with_models: With, losses: tuple[SoftLabels, ...]
) -> None:
    """The hint is of one size, as the student has the width of the teacher."""
    student = Graph(models.random_mlp(hidden=128))
    config = Finetune(epochs=3, losses=losses, student=ANOTHER, teacher=ANOTHER)
    outcome = FinetunePass(config).apply(trained, digits, with_models(student=student, teacher=trained))
    assert outcome.graph.weight("w1").shape == (784, 128)
    assert accuracy(outcome.graph, digits) > 0.75
    assert outcome.notes == (f"The teacher was the model {ANOTHER}.",)


def test_quantized_network_learns_from_the_original(
    trained: Graph, digits: Samples, unlabelled: Samples, context: Context, with_models: With
) -> None:
    quantized = QuantizePass(Quantize()).apply(trained, digits, context).graph
    config = Finetune(epochs=2, learning_rate=1e-4)
    tuned = FinetunePass(config).apply(quantized, unlabelled, with_models(model=trained)).graph
    (batch,) = digits.batches(Split.TEST, 10_000)
    wanted, before, after = (models.run(graph, **batch.inputs)[0] for graph in (trained, quantized, tuned))
    assert np.square(after - wanted).mean() < np.square(before - wanted).mean()


def test_teacher_with_an_op_that_is_not_trainable_still_teaches(digits: Samples, with_models: With) -> None:
    teacher = models.random_mlp(1)
    node = models.parsed(
        "g (float[N,10] a) => (float[N,10] b) { b = com.microsoft.Gelu(a) }", domains=', "com.microsoft" : 1'
    )
    teacher.opset_import.extend(o for o in node.opset_import if o.domain)
    gelu = node.graph.node[0]
    teacher.graph.node[-1].output[0] = gelu.input[0] = "before"
    gelu.output[0] = "logits"
    teacher.graph.node.append(gelu)
    config = Finetune(epochs=3, losses=(OutputError(),))
    outcome = FinetunePass(config).apply(Graph(models.random_mlp()), digits, with_models(model=Graph(teacher)))
    losses = next(curve for curve in outcome.curves if curve.name == "validation loss").y
    assert losses[-1] < losses[0]


def test_without_data_inputs_are_made_up_and_said_to_be(
    trained: Graph, digits: Samples, context: Context, with_models: With
) -> None:
    pruned = PrunePass(Prune(sparsity=0.96)).apply(trained, digits, context).graph
    config = Finetune(epochs=8, made_inputs=MadeInputs(samples=1024, low=0, high=1))
    outcome = FinetunePass(config).apply(pruned, None, with_models(model=trained))
    assert any("1024 made-up inputs, uniform numbers from 0.0 to 1.0" in note for note in outcome.notes)
    assert any("trust" in note for note in outcome.notes)


def test_made_up_inputs_match_batch_norm(digits: Samples, context: Context, tmp_path: Path) -> None:
    config = Finetune(epochs=2, optimizer=OptimizerName.ADAM, learning_rate=0.01)
    teacher = FinetunePass(config).apply(Graph(models.cnn()), digits, context).graph
    made = make_inputs(teacher, MadeInputs(samples=70, steps=30), 0, tmp_path, lambda _: None)
    assert made.samples.count(Split.TRAIN) == 70
    assert "statistics of 1 batch normalizations" in made.notes[0]
    before, _, after = made.notes[0].rpartition("distance ")[2].rstrip(").").partition(" → ")
    assert float(after) < 0.5 * float(before)


def test_integer_inputs_cannot_be_made_up(with_models: With) -> None:
    body = "g (int64[N,4] ids) => (float[N,4,2] y) { y = Gather(w, ids) }"
    graph = Graph(models.with_weights(models.parsed(body), w=np.ones((5, 2), np.float32)))
    with pytest.raises(DatasetMismatch, match="random values would be meaningless"):
        FinetunePass(Finetune()).apply(graph, None, with_models(model=graph))


def without_flatten() -> Graph:
    body = "g (float[N,4] x) => (float[N,10] logits) { logits = MatMul(x, w) }"
    return Graph(models.with_weights(models.parsed(body), w=np.ones((4, 10), np.float32)))


@pytest.mark.parametrize(
    ("config", "given", "error"),
    [
        (Finetune(losses=(SoftLabels(),)), {"model": "narrow"}, TeacherMismatch),
        (Finetune(losses=(Hint(student="h", teacher="h"),)), {"model": "wide"}, TeacherMismatch),
        (Finetune(losses=(Hint(student="hh", teacher="h"),)), {"model": "wide"}, UnknownTensor),
        (Finetune(student=ANOTHER), {"student": "narrow"}, StudentMismatch),
    ],
)
def test_models_that_do_not_go_together_are_refused(
    digits: Samples, with_models: With, config: Finetune, given: dict[str, str], error: type[EngineError]
) -> None:
    graphs = {"narrow": without_flatten(), "wide": Graph(models.random_mlp(hidden=32))}
    context = with_models(**{role: graphs[name] for role, name in given.items()})
    with pytest.raises(error):
        FinetunePass(config).apply(Graph(models.random_mlp()), digits, context)


def test_a_teacher_that_was_not_given_is_missed(digits: Samples, context: Context) -> None:
    with pytest.raises(NeedsModel, match=InputRole.MODEL):
        FinetunePass(Finetune(losses=(SoftLabels(),))).apply(Graph(models.random_mlp()), digits, context)


def test_losses_against_labels_need_labels(unlabelled: Samples, with_models: With, tmp_path: Path) -> None:
    graph = Graph(models.random_mlp())
    for data in (unlabelled, None):
        with pytest.raises(NeedsDataset, match="labels"):
            FinetunePass(Finetune(losses=(CrossEntropy(),))).apply(graph, data, with_models(model=graph))
    np.savez(tmp_path / "d.npz", **{"test/x": np.zeros((4, 1, 28, 28), np.float32)})
    with pytest.raises(NeedsDataset, match="no train split"):
        FinetunePass(Finetune()).apply(graph, open_dataset(tmp_path / "d.npz", tmp_path), with_models(model=graph))


def test_a_distilled_student_is_better_than_one_of_wrong_labels(
    trained: Graph, digits: Samples, with_models: With
) -> None:
    """Of 300 samples 40 % have a wrong label; the teacher, which knows the digits, does not mind."""
    (batch,) = digits.batches(Split.TRAIN, 300, with_labels=True, within=np.arange(300))
    generator = np.random.default_rng(0)
    wrong = generator.random(300) < 0.4
    labels = np.where(wrong, generator.integers(0, 10, 300), batch.required_labels)
    few = Samples({Split.TRAIN: Part(batch.inputs, labels)}, made_splits=False)
    student = Graph(models.random_mlp(hidden=16))
    context = with_models(model=trained)
    reached = [
        accuracy(FinetunePass(Finetune(epochs=30, losses=(term,))).apply(student, few, context).graph, digits)
        for term in (SoftLabels(), CrossEntropy())
    ]
    assert reached[0] > reached[1] + 0.03
