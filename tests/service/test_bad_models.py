"""Files that are wrong or hostile, through the whole service: a typed failure, and the service goes on."""

import io
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.embedded.service import Running
from tests.engine import models
from tests.service import facts
from whetstone.client import Client
from whetstone.contract.failures import FailureCode
from whetstone.contract.jobs import StepKind
from whetstone.contract.learning import Finetune, OptimizerName
from whetstone.contract.passes import Simplify
from whetstone.errors import JobFailed, UploadRejected


def truncated() -> bytes:
    return models.random_mlp().SerializeToString()[:-2000]


def unknown_op() -> bytes:
    body = "g (float[N,3] x) => (float[N,3] y) { y = made.up.Magic(x) }"
    return models.parsed(body, domains=', "made.up" : 1').SerializeToString()


def future_opset() -> bytes:
    model = models.relu()
    model.opset_import[0].version = 9_999
    return model.SerializeToString()


def outside_data() -> bytes:
    model = models.random_mlp()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    return model.SerializeToString()


def slippery_zip() -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("model.onnx", models.relu().SerializeToString())
        archive.writestr("../../escaped.bin", b"x")
    return memory.getvalue()


def hidden_pickle() -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("version", b"3")
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
    return memory.getvalue()


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: b"this is not a model at all, it is a sentence", FailureCode.INVALID_MODEL),
        (lambda: bytes(range(256)) * 10, FailureCode.INVALID_MODEL),
        (truncated, FailureCode.INVALID_MODEL),
        (unknown_op, FailureCode.UNSUPPORTED_OP),
        (future_opset, FailureCode.UNSUPPORTED_OPSET),
        (outside_data, FailureCode.UNSAFE_FILE),
        (slippery_zip, FailureCode.UNSAFE_FILE),
        (hidden_pickle, FailureCode.UNSAFE_FILE),
    ],
)
def test_a_bad_model_is_rejected_when_it_is_inspected(
    full_client: Client, tmp_path: Path, make: Callable[[], bytes], code: FailureCode
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(make())
    with pytest.raises(UploadRejected) as rejected:
        full_client.models.upload(path)
    assert rejected.value.failure.code is code
    assert rejected.value.failure.hint
    _still_works(full_client, tmp_path)


def _still_works(client: Client, tmp_path: Path) -> None:
    good = models.saved(models.relu(), tmp_path / "good.onnx")
    assert client.models.upload(good).facts is not None


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": np.array([{}], dtype=object)},
        {"x": np.zeros((4, 3), np.float32), "labels": np.zeros(3, np.int64)},
        {"x": np.full((4, 3), np.nan, np.float32)},
        {"labels": np.zeros(4, np.int64)},
        {"x": np.zeros((0, 3), np.float32)},
    ],
)
def test_a_bad_dataset_is_rejected_when_it_is_inspected(
    full_client: Client, tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    with pytest.raises(UploadRejected) as rejected:
        full_client.datasets.upload(path)
    assert rejected.value.failure.code is FailureCode.INVALID_DATASET
    assert rejected.value.failure.hint


def overflow() -> onnx.ModelProto:
    """-2^31 / -1 is no int32: onnxruntime does not look, and the processor ends the process (SIGFPE)."""
    body = """g (float[N,3] x) => (float[N,3] y) <int32[1] lowest = {-2147483648}, int32[1] minus = {-1}> {
        whole = Cast <to = 6> (x)
        zero = Sub(whole, whole)
        least = Add(zero, lowest)
        broken = Div(least, minus)
        y = Cast <to = 1> (broken)
    }"""
    return models.parsed(body)


def division_by_zero() -> onnx.ModelProto:
    """Onnxruntime looks for this one, and refuses to go on."""
    body = """g (float[N,3] x) => (float[N,3] y) {
        whole = Cast <to = 6> (x)
        zero = Sub(whole, whole)
        broken = Div(whole, zero)
        y = Cast <to = 1> (broken)
    }"""
    return models.parsed(body)


def endless_loop() -> onnx.ModelProto:
    """A Loop of 2^62 rounds."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["state", "state"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, ["N", 3]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, ["N", 3]),
        ],
    )
    loop = helper.make_node("Loop", ["rounds", "true", "x"], ["y"], "loop", body=body)
    constants = [numpy_helper.from_array(np.array(2**62), "rounds"), numpy_helper.from_array(np.ones((), bool), "true")]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph([loop], "endless", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def memory_bomb() -> onnx.ModelProto:
    """Asks for 2^40 floats."""
    body = """g (float[N,3] x) => (float[N,3] y) <int64[1] size = {1099511627776}> {
        huge = ConstantOfShape(size)
        sum = ReduceMax(huge)
        y = Add(x, sum)
    }"""
    return models.parsed(body)


@pytest.mark.parametrize(
    ("make", "codes"),
    [
        (overflow, {FailureCode.RUNTIME_CRASHED}),
        (division_by_zero, {FailureCode.RUNTIME_CRASHED}),
        (endless_loop, {FailureCode.TIME_LIMIT}),
        (memory_bomb, {FailureCode.OUT_OF_MEMORY}),
    ],
)
def test_a_model_that_crashes_hangs_or_eats_memory_is_a_typed_failure(
    full: Running, full_client: Client, tmp_path: Path, make: Callable[[], onnx.ModelProto], codes: set[FailureCode]
) -> None:
    path = models.saved(make(), tmp_path / "model.onnx")
    began = time.monotonic()
    try:
        model = full_client.models.upload(path)
        budget = {"max_minutes": 0.15}
        job = full_client.jobs.submit(facts.spec(model.id, None, Simplify(), budget=budget))
        with pytest.raises(JobFailed) as failed:
            full_client.jobs.wait(job.id)
        failure = failed.value.failure
        assert {step.attempt for step in full_client.jobs.get(job.id).steps if step.kind is StepKind.OPTIMIZE} == {1}
    except UploadRejected as rejected:
        failure = rejected.failure
    assert failure is not None
    assert failure.code in codes
    assert failure.hint
    assert time.monotonic() - began < 60
    assert all(process.exit_code() is None for process in full.processes)
    _still_works(full_client, tmp_path)


def test_learning_that_diverges_leaves_the_best_weights_to_download(full_client: Client, tmp_path: Path) -> None:
    body = "g (float[N,1] x) => (float[N,1] y) { y = MatMul(x, w) }"
    line = models.with_weights(models.parsed(body), w=np.ones((1, 1), np.float32))
    x = np.linspace(1, 2, 64, dtype=np.float32)[:, None]
    np.savez(tmp_path / "line.npz", x=x, labels=3 * x[:, 0])
    model = full_client.models.upload(models.saved(line, tmp_path / "line.onnx"))
    data = full_client.datasets.upload(tmp_path / "line.npz")
    learning = Finetune(epochs=500, optimizer=OptimizerName.SGD, learning_rate=1.5)
    job = full_client.jobs.submit(facts.spec(model.id, data.id, learning))
    with pytest.raises(JobFailed) as failed:
        full_client.jobs.wait(job.id)
    assert failed.value.failure is not None
    assert failed.value.failure.code is FailureCode.TRAINING_DIVERGED
    (best,) = full_client.jobs.download(job.id, tmp_path / "left")
    assert best.name == "best-so-far.onnx"
    assert np.isfinite(models.run(onnx.load(best), x=x)[0]).all()
