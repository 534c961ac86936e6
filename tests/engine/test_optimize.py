"""A whole recipe, and going on from a checkpoint."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.engine import models
from tests.engine.models import accuracy
from whetstone.contract.failures import FailureCode
from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.learning import Finetune, OptimizerName
from whetstone.contract.passes import Pass, Simplify
from whetstone.contract.pruning import Prune
from whetstone.contract.quantization import Quantize
from whetstone.contract.steps import InputRole, Optimize, Optimized
from workers.engine.data.errors import DatasetMismatch
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph
from workers.engine.importers.detect import open_model
from workers.engine.optimize import optimize
from workers.engine.request import Failed, Message, PassDone, Progress, Request
from workers.engine.run import answer

PASSES: tuple[Pass, ...] = (Simplify(), Prune(sparsity=0.6), Finetune(epochs=2), Quantize())


def request(tmp_path: Path, task: Optimize, **inputs: Path) -> Request:
    for name in ("outputs", "scratch"):
        (tmp_path / name).mkdir(exist_ok=True)
    roles = {InputRole(role): path for role, path in inputs.items()}
    return Request(task=task, inputs=roles, outputs=tmp_path / "outputs", scratch=tmp_path / "scratch")


def test_recipe_from_start_to_end(tmp_path: Path, trained: Graph, digits: Samples, digits_file: Path) -> None:
    told: list[Message] = []
    task = Optimize(passes=PASSES)
    model = models.saved(trained, tmp_path / "upload")
    done = optimize(request(tmp_path, task, model=model, dataset=digits_file), task, told.append)
    assert isinstance(done.result, Optimized)
    assert [report.config for report in done.result.passes] == list(PASSES)
    assert [(file.name, file.kind) for file in done.outputs] == [("model.onnx", ArtifactKind.MODEL)]

    checkpoints = [message for message in told if isinstance(message, PassDone)]
    assert [len(message.passes) for message in checkpoints] == [1, 2, 3, 4]
    assert all((tmp_path / "outputs" / message.file.name).is_file() for message in checkpoints)
    fractions = [message.fraction for message in told if isinstance(message, Progress)]
    assert fractions == sorted(fractions)

    _, pruned, tuned, quantized = done.result.passes
    assert pruned.nonzero_params < 0.45 * pruned.params
    assert tuned.nonzero_params <= pruned.nonzero_params
    assert quantized.size < 0.3 * tuned.size
    assert quantized.macs == 784 * 128 + 1280
    noise = [[layer.sqnr_db for layer in report.noise] for report in done.result.passes]
    assert noise[0] == [None, None]
    assert all(0 < db < 60 for db in (*noise[1], *noise[2], *noise[3]) if db is not None)
    assert None not in noise[3]
    result = open_model(tmp_path / "outputs" / "model.onnx", tmp_path)
    assert accuracy(result, digits) > accuracy(trained, digits) - 0.02


def test_goes_on_from_the_checkpoint(tmp_path: Path, trained: Graph, digits_file: Path) -> None:
    first, told = Optimize(passes=PASSES[:2]), []
    model = models.saved(trained, tmp_path / "upload")
    optimize(request(tmp_path, first, model=model, dataset=digits_file), first, told.append)
    checkpoint = next(m for m in told if isinstance(m, PassDone) and len(m.passes) == 2)
    saved = (tmp_path / "outputs" / checkpoint.file.name).rename(tmp_path / "checkpoint")

    rest: list[Message] = []
    task = Optimize(passes=PASSES, done=checkpoint.passes)
    done = optimize(request(tmp_path, task, model=model, dataset=digits_file, checkpoint=saved), task, rest.append)
    assert isinstance(done.result, Optimized)
    assert done.result.passes[:2] == checkpoint.passes
    assert [m.file.name for m in rest if isinstance(m, PassDone)] == ["checkpoint-3.onnx", "checkpoint-4.onnx"]


def test_what_was_best_before_learning_diverged_is_handed_over(tmp_path: Path) -> None:
    body = "g (float[N,1] x) => (float[N,1] y) { y = MatMul(x, w) }"
    line = models.with_weights(models.parsed(body), w=np.ones((1, 1), np.float32))
    x = np.linspace(1, 2, 64, dtype=np.float32)[:, None]
    np.savez(tmp_path / "d.npz", **{"train/x": x, "train/labels": 3 * x[:, 0]})
    task = Optimize(passes=(Finetune(epochs=500, optimizer=OptimizerName.SGD, learning_rate=1.5, hold_sparsity=False),))
    model, told = models.saved(line, tmp_path / "upload"), list[Message]()
    answer(request(tmp_path, task, model=model, dataset=tmp_path / "d.npz"), told.append)
    failed = told[-1]
    assert isinstance(failed, Failed)
    assert failed.failure.code is FailureCode.TRAINING_DIVERGED
    assert re.search(r"in step \d+.* epoch 1 was the best", failed.failure.message)
    assert "'best-so-far.onnx'" in (failed.failure.hint or "")
    assert [(file.name, file.kind) for file in failed.outputs] == [("best-so-far.onnx", ArtifactKind.MODEL)]
    kept = open_model(tmp_path / "outputs" / "best-so-far.onnx", tmp_path)
    assert np.isfinite(kept.weight("w")).all()
    assert (kept.weight("w") != 1).all()


def test_raised_opset_is_told_in_the_first_report(tmp_path: Path) -> None:
    model = models.parsed("g (float[N,3] x) => (float[N,3] y) { y = Softmax <axis = 1> (x) }", opset=11)
    task = Optimize(passes=(Simplify(),))
    done = optimize(request(tmp_path, task, model=models.saved(model, tmp_path / "m")), task, lambda _: None)
    assert isinstance(done.result, Optimized)
    assert "opset 11" in done.result.passes[0].notes[0]


def test_dataset_that_does_not_fit_is_refused(tmp_path: Path, digits_file: Path) -> None:
    task = Optimize(passes=(Simplify(),))
    model = models.saved(models.relu(), tmp_path / "m")
    with pytest.raises(DatasetMismatch):
        optimize(request(tmp_path, task, model=model, dataset=digits_file), task, lambda _: None)
