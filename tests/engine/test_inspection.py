"""What an upload is found to be."""

from pathlib import Path

import numpy as np
import pytest

from tests.engine import models
from workers.engine.importers.errors import InvalidModel
from workers.engine.inspection import inspect_dataset, inspect_model


def test_model_facts(tmp_path: Path) -> None:
    model = models.cnn()
    model.producer_name, model.producer_version = "hand", "1"
    facts = inspect_model(models.saved(model, tmp_path / "upload"), tmp_path).facts
    assert (facts.format, facts.producer, facts.opset, facts.nodes) == ("onnx", "hand 1", 17, 10)
    assert facts.ops["Conv"] == 2
    assert [(layer.name, layer.params, layer.macs) for layer in facts.layers] == [
        ("c1", 72, 56448),
        ("d", 80, 14112),
        ("logits", 90, 80),
    ]


def test_model_that_the_runtime_cannot_load_is_refused_with_its_reason(tmp_path: Path) -> None:
    body = "g (float[N,3] x, float[N,3] z) => (float[N,3] y) { y = MatMul(x, w) }"
    model = models.with_weights(models.parsed(body), w=np.ones((4, 3), np.float32))
    with pytest.raises(InvalidModel, match=r"onnxruntime cannot load the model: .*MatMul"):
        inspect_model(models.saved(model, tmp_path / "upload"), tmp_path)


def test_what_another_runtime_refuses_is_told_by_operator(tmp_path: Path) -> None:
    body = "g (float[4,4] x) => (float[4,4] y) { a = com.microsoft.Inverse(x) y = Relu(a) }"
    model = models.parsed(body, domains=', "com.microsoft" : 1')
    (refusal,) = inspect_model(models.saved(model, tmp_path / "upload"), tmp_path).facts.refusals
    assert refusal.runtime == "openvino"
    assert refusal.ops == ("com.microsoft.Inverse",)
    assert "Inverse" in refusal.because
    assert inspect_model(models.saved(models.cnn(), tmp_path / "fine"), tmp_path).facts.refusals == ()


def test_dataset_facts(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((20, 4), np.float32), labels=np.arange(20) % 2)
    facts, preview = inspect_dataset(tmp_path / "d.npz", tmp_path)
    assert (facts.samples, facts.classes) == (20, 2)
    assert preview.splits == facts.splits
