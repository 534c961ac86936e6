"""The losses against their formulas, and which tensors they look at."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from tests.engine import models
from whetstone.contract.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Hint,
    Huber,
    LabelTerm,
    MeanAbsoluteError,
    MeanSquaredError,
    OutputCosine,
    OutputError,
    SoftLabels,
)
from workers.engine.data.errors import DatasetMismatch
from workers.engine.graph.graph import Graph
from workers.engine.training.losses import Targets, TeacherMismatch, label_loss, teacher_loss
from workers.engine.training.objective import Objective, UnknownTensor, aims_of, without_labels

GENERATOR = torch.Generator().manual_seed(0)
MADE = torch.randn(5, 3, generator=GENERATOR)
TAUGHT = torch.randn(5, 3, generator=GENERATOR)
NUMBERS = torch.randn(5, 3, generator=GENERATOR)
IDS = torch.tensor([0, 1, 2, 1, 0])


def smoothed(share: float) -> torch.Tensor:
    wanted = F.one_hot(IDS, 3) * (1 - share) + share / 3
    return -(wanted * MADE.log_softmax(1)).sum(1).mean()


@pytest.mark.parametrize(
    ("term", "labels", "expected"),
    [
        (CrossEntropy(), IDS, smoothed(0)),
        (CrossEntropy(label_smoothing=0.2), IDS, smoothed(0.2)),
        (MeanSquaredError(), NUMBERS, (MADE - NUMBERS).square().mean()),
        (MeanAbsoluteError(), NUMBERS, (MADE - NUMBERS).abs().mean()),
        (Huber(delta=1e9), NUMBERS, (MADE - NUMBERS).square().mean() / 2),
        (Huber(delta=1e-6), NUMBERS, (MADE - NUMBERS).abs().mean() * 1e-6),
        (BinaryCrossEntropy(), F.one_hot(IDS, 3), -(MADE * (2 * F.one_hot(IDS, 3) - 1)).sigmoid().log().mean()),
    ],
)
def test_losses_against_labels(term: LabelTerm, labels: torch.Tensor, expected: torch.Tensor) -> None:
    assert torch.allclose(label_loss(term, MADE, Targets(labels)), expected, rtol=1e-4)


def test_soft_labels_are_the_divergence_at_a_temperature() -> None:
    student, teacher = (MADE / 4).softmax(1), (TAUGHT / 4).softmax(1)
    expected = 16 * (teacher * (teacher / student).log()).sum(1).mean()
    assert torch.allclose(teacher_loss(SoftLabels(temperature=4), MADE, TAUGHT), expected)
    assert teacher_loss(SoftLabels(), MADE, MADE).abs() < 1e-7


def test_other_losses_against_a_teacher() -> None:
    assert torch.allclose(teacher_loss(OutputError(), MADE, TAUGHT), (MADE - TAUGHT).square().mean())
    cosines = (MADE * TAUGHT).sum(1) / MADE.norm(dim=1) / TAUGHT.norm(dim=1)
    assert torch.allclose(teacher_loss(OutputCosine(), MADE, TAUGHT), 1 - cosines.mean())


def test_mixed_labels_are_soft_labels() -> None:
    loss = label_loss(CrossEntropy(), MADE, Targets(IDS, IDS.flip(0), 0.7))
    soft = 0.7 * F.one_hot(IDS, 3) + 0.3 * F.one_hot(IDS.flip(0), 3)
    assert torch.allclose(loss, F.cross_entropy(MADE, soft))


def test_terms_are_weighted_and_added() -> None:
    graph = Graph(models.random_mlp())
    objective = aims_of(graph, (CrossEntropy(weight=0.25), OutputError(weight=3)), graph)
    total = objective.total({"logits": MADE}, {"logits": TAUGHT}, Targets(IDS))
    assert torch.allclose(total, 0.25 * F.cross_entropy(MADE, IDS) + 3 * F.mse_loss(MADE, TAUGHT))


def test_each_term_finds_its_tensor() -> None:
    graph = Graph(models.random_mlp(softmax=True))
    terms = (CrossEntropy(), MeanSquaredError(), SoftLabels(), Hint(student="h", teacher="h0"))
    objective = aims_of(graph, terms, Graph(models.random_mlp()))
    assert [(aim.student, aim.teacher) for aim in objective.aims] == [
        ("logits", None),
        ("probabilities", None),
        ("logits", "logits"),
        ("h", "h0"),
    ]
    assert objective.output == "logits"


def test_what_to_learn_without_labels() -> None:
    assert without_labels(Graph(models.random_mlp(softmax=True))) == SoftLabels()
    assert without_labels(Graph(models.random_mlp())) == OutputError()


def test_unknown_tensor_is_named_with_the_nearest() -> None:
    graph = Graph(models.random_mlp())
    with pytest.raises(UnknownTensor, match="No tensor of the teacher is called 'flatt'; the nearest name is 'flat'"):
        aims_of(graph, (Hint(student="h", teacher="flatt"),), graph)


def test_other_shapes_are_a_mismatch_that_names_both() -> None:
    objective = aims_of(Graph(models.random_mlp()), (OutputError(),), Graph(models.random_mlp()))
    with pytest.raises(TeacherMismatch, match=r"\[5, 3\], the teacher's 'logits' \[5, 2\]"):
        objective.total({"logits": MADE}, {"logits": TAUGHT[:, :2]}, None)


def test_single_output_has_no_soft_labels() -> None:
    with pytest.raises(TeacherMismatch, match="tell no classes apart"):
        teacher_loss(SoftLabels(), MADE[:, :1], TAUGHT[:, :1])


def test_labels_of_binary_cross_entropy_are_checked() -> None:
    with pytest.raises(DatasetMismatch, match="labels of 0 and 1"):
        label_loss(BinaryCrossEntropy(), MADE[:, 0], Targets(IDS))


def test_a_teacher_is_needed_for_its_losses() -> None:
    with pytest.raises(TeacherMismatch, match="needs a teacher"):
        aims_of(Graph(models.random_mlp()), (SoftLabels(),))


def test_hits_of_a_single_output_are_by_its_sign() -> None:
    objective = aims_of(Graph(models.random_mlp()), (BinaryCrossEntropy(),))
    made = torch.tensor([[2.0], [-1.0], [0.5]])
    hits = objective.correct(made, torch.tensor([1, 1, 1]))
    assert hits is not None
    assert hits.flatten().tolist() == [True, False, True]
    assert isinstance(objective, Objective)
    assert np.isfinite(float(objective.loss(made, torch.tensor([1, 0, 1]))))
