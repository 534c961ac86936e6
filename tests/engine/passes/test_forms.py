"""How static quantization is written down: types of activations, symmetry, and what NVIDIA's parsers take."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto
from pydantic import ValidationError

from tests.engine import models
from tests.engine.models import accuracy
from whetstone.contract.quantization import Activations, ActivationType, Form, Precision, Quantize, Rounding, Smooth
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.quantize import QuantizePass


def zero_points(graph: Graph) -> Iterator[tuple[NodeProto, np.generic]]:
    """Of every QuantizeLinear, each distinct value."""
    for node in graph.nodes:
        if node.op_type == "QuantizeLinear":
            yield from ((node, value) for value in np.unique(graph.weight(node.input[2])))


@pytest.mark.parametrize(
    ("config", "dtype", "symmetric"),
    [
        (Quantize(), "uint8", False),
        (Quantize(symmetric=True), "uint8", True),
        (Quantize(activation_type=ActivationType.INT8), "int8", True),
        (Quantize(activation_type=ActivationType.INT8, symmetric=False), "int8", False),
    ],
    ids=str,
)
def test_types_and_zero_points(
    trained: Graph, digits: Samples, context: Context, config: Quantize, dtype: str, *, symmetric: bool
) -> None:
    graph = QuantizePass(config).apply(trained, digits, context).graph
    assert accuracy(graph, digits) > accuracy(trained, digits) - 0.01
    found = [value for _, value in zero_points(graph)]
    assert {value.dtype.name for value in found} == {dtype}
    middle = 0 if dtype == "int8" else 128
    assert all(int(value) == middle for value in found) == symmetric


@pytest.mark.parametrize(
    "config",
    [
        Quantize(form=Form.NVIDIA),
        Quantize(form=Form.NVIDIA, per_channel=False),
        Quantize(form=Form.NVIDIA, equalize=True, smooth=Smooth(), rounding=Rounding.LEARNED, bias_correction=True),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_nvidia_form_is_symmetric_int8_with_float_biases(
    digits: Samples, context: Context, config: Quantize, name: str
) -> None:
    graph = Graph(models.cnn() if name == "cnn" else models.random_mlp())
    outcome = QuantizePass(config).apply(graph, digits, context)
    after = outcome.graph
    assert {(value.dtype.name, int(value)) for _, value in zero_points(after)} == {("int8", 0)}
    for node in after.nodes:
        if node.op_type == "DequantizeLinear" and node.input[0] in after.constants:
            assert after.dtype(node.input[0]) == "int8"
            assert not np.any(after.weight(node.input[2]))
        if node.op_type in ("Conv", "Gemm") and len(node.input) > 2:
            assert after.dtype(node.input[2]) == "float32"
    quantized = {name for name, made in after.constants.items() if name.endswith("_quantized")}
    assert len(quantized) == sum(change.change == "quantized" for change in outcome.layers)
    reading = {after.producer(n.input[0]).op_type for n in after.nodes if n.op_type in ("MaxPool", "HardSwish")}  # type: ignore[union-attr]
    assert "DequantizeLinear" not in reading


@pytest.mark.parametrize(
    "wrong",
    [
        {"form": "nvidia", "activations": "dynamic"},
        {"form": "nvidia", "activation_type": "uint8"},
        {"form": "nvidia", "symmetric": False},
        {"activations": "dynamic", "symmetric": True},
        {"precision": "fp16", "bias_correction": True},
        {"precision": "bf16", "rounding": "learned"},
        {"precision": "int4", "equalize": True},
        {"activations": "none", "smooth": {}},
        {"smooth": {"alpha": 1.5}},
    ],
)
def test_settings_that_contradict_each_other(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Quantize.model_validate(wrong)


def test_settings_survive_json() -> None:
    config = Quantize(form=Form.NVIDIA, smooth=Smooth(alpha=0.5), rounding=Rounding.LEARNED, bias_correction=True)
    assert Quantize.model_validate_json(config.model_dump_json()) == config
    assert Quantize(precision=Precision.INT4).in_blocks
    assert Quantize(activations=Activations.NONE).in_blocks
    assert not Quantize(precision=Precision.BF16).in_blocks


def test_file_is_a_quarter_in_nvidia_form_too(
    trained: Graph, digits: Samples, context: Context, tmp_path: Path
) -> None:
    outcome = QuantizePass(Quantize(form=Form.NVIDIA)).apply(trained, digits, context)
    outcome.graph.save(tmp_path / "after.onnx")
    trained.save(tmp_path / "before.onnx")
    assert (tmp_path / "after.onnx").stat().st_size < 0.3 * (tmp_path / "before.onnx").stat().st_size
    assert accuracy(outcome.graph, digits) > accuracy(trained, digits) - 0.01
