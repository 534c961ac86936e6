"""What is lost counts from the original in full precision, on a target that computes in less."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.engine import models
from whetstone.contract.failures import FailureCode
from whetstone.contract.jobs import Budget, Measurement, Objective
from whetstone.contract.reports import TargetReport, VerdictKind
from whetstone.contract.steps import Deliver, Delivered, InputRole
from whetstone.contract.targets import Target
from workers.engine.deliver import deliver
from workers.engine.errors import EngineError
from workers.engine.request import Request
from workers.engine.targets.processor import computes_bf16

pytestmark = pytest.mark.skipif(not computes_bf16(), reason="this processor has no native bfloat16")

RNG = np.random.default_rng(0)
FACTORS = RNG.standard_normal((64, 64)).astype(np.float32)
ONE_PASS = """g (float[N,64] x) => (float[N,64] y) {
    m = ReduceMean <axes = [1], keepdims = 1> (x) mm = Mul (m, m)
    xx = Mul (x, x) e = ReduceMean <axes = [1], keepdims = 1> (xx)
    v = Sub (e, mm) ve = Add (v, epsilon) root = Sqrt (ve) r = Reciprocal (root)
    c = Sub (x, m) n = Mul (c, r) y = MatMul (n, w) }"""
TWO_PASSES = """g (float[N,64] x) => (float[N,64] y) {
    m = ReduceMean <axes = [1], keepdims = 1> (x) c = Sub (x, m) cc = Mul (c, c)
    v = ReduceMean <axes = [1], keepdims = 1> (cc) ve = Add (v, epsilon) root = Sqrt (ve)
    n = Div (c, root) w = Cast <to = 1> (half) y = MatMul (n, w) }"""
EPSILON = np.array(1e-6, np.float32)


def fragile() -> onnx.ModelProto:
    """A normalization that takes the difference of two large means, of which bfloat16 has no bits left."""
    return models.with_weights(models.parsed(ONE_PASS, opset=13), epsilon=EPSILON, w=FACTORS)


def robust() -> onnx.ModelProto:
    """The same function, centred first, in half the bytes."""
    weights = {"epsilon": EPSILON, "half": FACTORS.astype(np.float16)}
    return models.with_weights(models.parsed(TWO_PASSES, opset=13), **weights)


def run(folder: Path, result: onnx.ModelProto) -> TargetReport:
    outputs, scratch, data = folder / "outputs", folder / "scratch", folder / "data.npz"
    outputs.mkdir()
    scratch.mkdir()
    np.savez(data, x=(30 + RNG.standard_normal((100, 64))).astype(np.float32))
    inputs = {
        InputRole.MODEL: models.saved(fragile(), folder / "original.onnx"),
        InputRole.RESULT: models.saved(result, folder / "result.onnx"),
        InputRole.DATASET: data,
    }
    task = Deliver(
        target=Target.OPENVINO_CPU_BF16,
        budget=Budget(objective=Objective.SIZE, max_drop=5),
        measurement=Measurement(batch_size=1, threads=1, max_seconds=1),
    )
    done = deliver(Request(task=task, inputs=inputs, outputs=outputs, scratch=scratch), task, lambda _: None)
    assert isinstance(done.result, Delivered)
    return done.result.report


def test_a_result_may_survive_what_breaks_the_original(tmp_path: Path) -> None:
    report = run(tmp_path, robust())
    assert report.verdict.kind is VerdictKind.IMPROVED
    assert report.fidelity.cosine > 0.99


def test_a_broken_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as raised:
        run(tmp_path, fragile())
    assert raised.value.code is FailureCode.RESULT_MISMATCH


def test_a_broken_original_is_not_returned(tmp_path: Path) -> None:
    """The result is right, and larger."""
    with pytest.raises(EngineError) as raised:
        run(tmp_path, with_detour(robust()))
    assert raised.value.code is FailureCode.RESULT_MISMATCH


def with_detour(model: onnx.ModelProto) -> onnx.ModelProto:
    """The last product by way of two large matrices that together are the identity."""
    there = np.linalg.qr(RNG.standard_normal((512, 64)))[0].T.astype(np.float32)
    for name, values in (("there", there), ("back", there.T)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
    last = model.graph.node[-1]
    last.output[0] = "inner"
    model.graph.node.extend(
        [
            onnx.helper.make_node("MatMul", ["inner", "there"], ["wide"]),
            onnx.helper.make_node("MatMul", ["wide", "back"], ["y"]),
        ]
    )
    return model
