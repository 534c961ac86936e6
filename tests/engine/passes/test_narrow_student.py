"""A student that is a narrower copy of its teacher: really smaller, and as good as it can be."""

from pathlib import Path

import numpy as np
import pytest

from tests.engine import models
from tests.engine.graph.networks import transformer
from tests.engine.models import accuracy
from whetstone.contract.learning import Finetune
from whetstone.contract.losses import CrossEntropy, OutputError, SoftLabels
from whetstone.contract.steps import InputRole
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import count_params
from workers.engine.passes.errors import NothingToDo
from workers.engine.passes.finetune import FinetunePass
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.student import StudentMismatch

ANOTHER = "mdl_01h2xcejqtf2nbrexx3vqjhp41"


def step(folder: Path, **given: Graph) -> Context:
    return Context(folder, threads=1, model=lambda role: given[role].copy())


def test_half_of_the_units_are_left_and_know_what_the_teacher_knows(
    trained: Graph, digits: Samples, tmp_path: Path
) -> None:
    config = Finetune(width=0.5, epochs=5, losses=(CrossEntropy(weight=0.3), SoftLabels(weight=0.7)))
    outcome = FinetunePass(config).apply(trained, digits, step(tmp_path, model=trained))
    assert outcome.graph.weight("w1").shape == (784, 64)
    assert outcome.graph.weight("w2").shape == (64, 10)
    assert accuracy(outcome.graph, digits) > accuracy(trained, digits) - 0.02
    assert "copy of the teacher" in outcome.notes[0]
    assert {change.after for change in outcome.layers} != {change.before for change in outcome.layers}
    assert trained.weight("w1").shape == (784, 128)


def test_it_is_a_copy_of_the_teacher_that_is_named(trained: Graph, digits: Samples, tmp_path: Path) -> None:
    narrow = Graph(models.random_mlp(hidden=8))
    config = Finetune(width=0.25, epochs=1, teacher=ANOTHER, losses=(OutputError(),))
    outcome = FinetunePass(config).apply(narrow, digits, step(tmp_path, model=narrow, teacher=trained))
    assert outcome.graph.weight("w1").shape == (784, 32)


def test_heads_and_hidden_units_of_a_transformer_are_halved(tmp_path: Path) -> None:
    model, ids = transformer()
    teacher = Graph(model)
    rows = np.random.default_rng(0).integers(0, 7, (40, ids.shape[1]))
    np.savez(tmp_path / "d.npz", x=rows)
    config = Finetune(width=0.5, epochs=2, losses=(OutputError(),), batch_size=8)
    data = open_dataset(tmp_path / "d.npz", tmp_path)
    outcome = FinetunePass(config).apply(teacher, data, step(tmp_path, model=teacher))
    assert outcome.graph.weight("w1").shape == (8, 8)
    assert outcome.graph.weight("wq").shape == (8, 4)
    assert count_params(outcome.graph) < 0.8 * count_params(teacher)


def test_what_cannot_be_narrowed_is_refused_with_the_reason(digits: Samples, tmp_path: Path) -> None:
    body = "g (float[N,1,28,28] x) => (float[N,10] y) { f = Flatten(x) [only] y = Gemm(f, w) }"
    graph = Graph(models.with_weights(models.parsed(body), w=np.ones((784, 10), np.float32)))
    with pytest.raises(NothingToDo, match="'only'"):
        FinetunePass(Finetune(width=0.5)).apply(graph, digits, step(tmp_path, model=graph))


def test_a_teacher_of_another_interface_has_no_copy_here(trained: Graph, digits: Samples, tmp_path: Path) -> None:
    other = trained.copy()
    other.model.graph.output[0].name = other.model.graph.node[-1].output[0] = "scores"
    other.reindex()
    with pytest.raises(StudentMismatch):
        FinetunePass(Finetune(width=0.5)).apply(trained, digits, step(tmp_path, **{InputRole.MODEL: other}))


def test_a_student_is_named_or_made_not_both() -> None:
    with pytest.raises(ValueError, match="either student or width"):
        Finetune(width=0.5, student=ANOTHER)
