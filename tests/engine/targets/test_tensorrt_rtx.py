"""Engines that TensorRT-RTX really builds here, without a GPU: nothing of it is imitated, and nothing of it is run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.engine import models
from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.quantization import Form, Precision, Quantize
from whetstone.contract.reports import ShapeRange
from whetstone.contract.targets import Target
from whetstone.contract.toolkits import Toolkit
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.quantize import QuantizePass
from workers.engine.targets.builder import Built, OnlyBuilt
from workers.engine.targets.choose import builder_for, delivered_name, runtime_for
from workers.engine.targets.tensorrt_rtx import TensorRtRtx
from workers.engine.targets.tensorrt_words import IN_FORM, NARROWED, NO_FP8
from workers.engine.toolkits.environments import FOLDER_VARIABLE, is_built

needs_toolkit = pytest.mark.skipif(
    not is_built(Toolkit.TENSORRT_RTX),
    reason="the toolkit is not built: python -m workers toolkits install tensorrt-rtx",
)
DIGITS = (ShapeRange(input="x", least=(1, 1, 28, 28), usual=(8, 1, 28, 28), most=(32, 1, 28, 28)),)


def build(model: onnx.ModelProto, folder: Path, target: Target, shapes: Sequence[ShapeRange] = DIGITS) -> Built:
    """The engine lies in `folder` under the target's name."""
    builder = builder_for(target)
    assert builder is not None
    path = models.saved(model, folder / "model.onnx")
    return builder.build(path, folder / delivered_name(target), shapes, folder)


def refused(model: onnx.ModelProto, folder: Path, target: Target = Target.TENSORRT_RTX_SM89) -> Failure:
    with pytest.raises(EngineError) as error:
        build(model, folder, target)
    assert not (folder / delivered_name(target)).exists()
    return error.value.as_failure()


def precisions(built: Built, *nodes: str) -> set[str]:
    """What these nodes compute in, as the builder tells; each must be in a kernel that is more than a generated one."""
    heavy = [kernel for kernel in built.kernels if kernel.kind != "kgen" and {*kernel.nodes} & {*nodes}]
    assert {*nodes} <= {node for kernel in heavy for node in kernel.nodes}
    return {kernel.precision for kernel in heavy}


def convolution(kind: int | None = None) -> onnx.ModelProto:
    """Convolution and product, each with Q/DQ pairs of this type if there is one; named by what they do."""
    pairs = "" if kind is None else PAIRS
    x, k, f, w = ("x", "k", "f", "w") if kind is None else ("xd", "kd", "fd", "wd")
    body = f"""g (float[N,1,28,28] x) => (float[N,10] y) {{
        {pairs.partition("--")[0]}
        c = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> ({x}, {k})
        r = Relu(c)
        g = GlobalAveragePool(r)
        f = Flatten(g)
        {pairs.partition("--")[2]}
        y = Gemm <transB = 1> ({f}, {w}, b)
    }}"""
    model = models.parsed(body, opset=19)
    model.ir_version = 9
    for node in model.graph.node:
        node.name = {"Conv": "conv", "Gemm": "product"}.get(node.op_type, "")
    generator = np.random.default_rng(0)
    weights = {"k": (16, 1, 3, 3), "w": (10, 16), "b": (10,)}
    made = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in weights.items()}
    models.with_weights(model, **made)
    if kind is not None:
        models.with_weights(model, s=np.float32(0.05).reshape(()))
        model.graph.initializer.append(helper.make_tensor("z", kind, [], [0]))
    return model


PAIRS = """
        xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s, z)
        kq = QuantizeLinear(k, s, z) kd = DequantizeLinear(kq, s, z)
        --
        fq = QuantizeLinear(f, s, z) fd = DequantizeLinear(fq, s, z)
        wq = QuantizeLinear(w, s, z) wd = DequantizeLinear(wq, s, z)
"""


@needs_toolkit
@pytest.mark.parametrize("target", [Target.TENSORRT_RTX_SM86, Target.TENSORRT_RTX_SM89, Target.TENSORRT_RTX_SM120])
def test_an_engine_for_each_capability(target: Target, tmp_path: Path) -> None:
    built = build(convolution(), tmp_path, target)
    assert (built.key.runtime, built.key.compute_capability) == ("tensorrt-rtx", target.value.partition("/")[2])
    assert (tmp_path / delivered_name(target)).stat().st_size > 10_000
    assert precisions(built, "conv", "product") == {"f32"}


@needs_toolkit
def test_integers_and_eight_bit_floats_come_from_the_graph(tmp_path: Path) -> None:
    found = {
        kind: precisions(build(convolution(kind), tmp_path, Target.TENSORRT_RTX_SM89), "conv", "product")
        for kind in (TensorProto.INT8, TensorProto.FLOAT8E4M3FN)
    }
    assert found == {TensorProto.INT8: {"i8"}, TensorProto.FLOAT8E4M3FN: {"f8"}}


@needs_toolkit
def test_eight_bit_floats_are_refused_where_the_gpu_has_none(tmp_path: Path) -> None:
    failure = refused(convolution(TensorProto.FLOAT8E4M3FN), tmp_path, Target.TENSORRT_RTX_SM86)
    assert failure.code is FailureCode.TARGET_BUILD_FAILED
    assert failure.message == "GPUs of sm86 do not compute in fp8_e4m3."
    assert failure.hint == NO_FP8


@needs_toolkit
@pytest.mark.parametrize(
    ("config", "kernels"),
    [(Quantize(precision=Precision.FP16), "f16"), (Quantize(form=Form.NVIDIA), "i8")],
    ids=["fp16", "int8"],
)
def test_what_quantize_makes_is_taken(
    trained_cnn: Graph, digits: Samples, context: Context, config: Quantize, kernels: str
) -> None:
    """The trained CNN, any batch from 1 to 32: every convolution computes in the type that it was given."""
    graph = QuantizePass(config).apply(trained_cnn, digits, context).graph
    built = build(graph.model, context.scratch, Target.TENSORRT_RTX_SM89)
    convolutions = [node.name for node in graph.nodes if node.op_type == "Conv"]
    assert len(convolutions) == 4
    assert precisions(built, *convolutions) == {kernels}
    assert built.notes == ()


@needs_toolkit
def test_what_is_quantized_for_cpus_is_refused(trained: Graph, digits: Samples, context: Context) -> None:
    """The parser would read uint8 with a zero point of 0 as int8, with no more than a warning."""
    graph = QuantizePass(Quantize()).apply(trained, digits, context).graph
    failure = refused(graph.model, context.scratch)
    assert (failure.code, failure.hint) == (FailureCode.UNSUPPORTED_OP, IN_FORM)
    assert failure.layer is not None
    assert "uint8" in failure.message


@needs_toolkit
def test_an_operator_that_the_parser_lacks(tmp_path: Path) -> None:
    model = models.parsed("g (float[N,3,3] x) => (float[N] y) { a = Relu(x) y = Det(a) }")
    model.graph.node[0].name = "first"
    failure = refused(model, tmp_path)
    assert (failure.code, failure.layer) == (FailureCode.UNSUPPORTED_OP, "y")
    assert "Det 'y'" in failure.message


def test_float64_is_refused(tmp_path: Path) -> None:
    """The parser would compute it in float32, without a word."""
    failure = refused(models.parsed("g (double[N,3] x) => (double[N,3] y) { y = Relu(x) }"), tmp_path)
    assert (failure.code, failure.hint) == (FailureCode.UNSUPPORTED_OP, NARROWED)


@needs_toolkit
def test_a_profile_that_does_not_fit_is_told(tmp_path: Path) -> None:
    shapes = (ShapeRange(input="x", least=(1, 2, 28, 28), usual=(1, 2, 28, 28), most=(1, 2, 28, 28)),)
    with pytest.raises(EngineError, match="TensorRT") as error:
        build(convolution(), tmp_path, Target.TENSORRT_RTX_SM89, shapes)
    assert error.value.as_failure().code is FailureCode.TARGET_BUILD_FAILED


@needs_toolkit
def test_a_toolkit_that_breaks_off_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"TensorRT-RTX broke off: .*SM1") as error:
        TensorRtRtx("sm1").build(models.saved(convolution(), tmp_path / "a.onnx"), tmp_path / "a", DIGITS, tmp_path)
    assert error.value.as_failure().code is FailureCode.TARGET_BUILD_FAILED


def test_without_the_toolkit_the_failure_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "empty"))
    failure = refused(convolution(), tmp_path)
    assert (failure.code, failure.toolkit) == (FailureCode.NO_WORKER, Toolkit.TENSORRT_RTX)
    assert failure.hint is not None
    assert "toolkits install tensorrt-rtx" in failure.hint


def test_nothing_can_be_run_there() -> None:
    for target in Target:
        assert (builder_for(target) is not None) == target.only_built
        if target.only_built:
            with pytest.raises(OnlyBuilt):
                runtime_for(target)
