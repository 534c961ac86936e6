"""Each runtime converts, loads and runs small models, and says where and in what precision it ran them."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.engine import models
from whetstone.contract.targets import GraphOptimization, RuntimeSettings, Target
from workers.engine.targets import processor
from workers.engine.targets.choose import delivered_name, runtime_for
from workers.engine.targets.runtime import Arrays, PrecisionNotOffered, TargetBuildFailed, first_line

OFFERED = [
    Target.ONNXRUNTIME_CPU,
    Target.OPENVINO_CPU,
    pytest.param(
        Target.OPENVINO_CPU_BF16,
        marks=pytest.mark.skipif(
            not {"avx512_bf16", "amx_bf16"} & processor.cpu_flags(), reason="the processor has no bfloat16"
        ),
    ),
    Target.ONNXRUNTIME_CPU_ORT,
]
CLOSE = {
    Target.ONNXRUNTIME_CPU: 1e-6,
    Target.ONNXRUNTIME_CPU_ORT: 1e-6,
    Target.OPENVINO_CPU: 1e-4,
    Target.OPENVINO_CPU_BF16: 0.1,
}


@pytest.fixture
def no_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A processor that cannot do much."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Old One\nflags\t\t: fpu sse2\n")
    monkeypatch.setattr(processor, "CPUINFO", cpuinfo)
    processor.cpu_flags.cache_clear()
    yield
    processor.cpu_flags.cache_clear()


def images(count: int) -> Arrays:
    return {"x": np.random.default_rng(0).standard_normal((count, 1, 28, 28)).astype(np.float32)}


def delivered(target: Target, model: onnx.ModelProto, folder: Path) -> Path:
    """The file to load, converted and unpacked in `folder`."""
    runtime = runtime_for(target)
    artifact = folder / delivered_name(target)
    runtime.convert(models.saved(model, folder / "model.onnx"), artifact)
    return runtime.unpack(artifact, folder)


@pytest.mark.parametrize("target", OFFERED)
def test_outputs_by_name_at_any_batch(target: Target, tmp_path: Path) -> None:
    session = runtime_for(target).load(delivered(target, models.cnn(), tmp_path), 1)
    for count in (1, 3):
        found = session.run(images(count))
        (expected,) = models.run(models.cnn(), **images(count))
        assert found.keys() == {"logits"}
        assert np.abs(found["logits"] - expected).max() <= CLOSE[target]


@pytest.mark.parametrize("target", OFFERED)
def test_a_bound_call_runs_and_outputs_are_the_callers(target: Target, tmp_path: Path) -> None:
    session = runtime_for(target).load(delivered(target, models.cnn(), tmp_path), 1)
    first = session.run(images(2))["logits"]
    kept = first.copy()
    call = session.bind({"x": np.zeros((2, 1, 28, 28), np.float32)})
    call()
    session.run({"x": np.ones((2, 1, 28, 28), np.float32)})
    assert (first == kept).all()


@pytest.mark.parametrize("target", OFFERED)
def test_names_that_are_no_file_names(target: Target, tmp_path: Path) -> None:
    model = models.relu()
    for value, name in ((model.graph.input[0], "in/0:x"), (model.graph.output[0], "out/<0>")):
        value.name = name
    model.graph.node[0].input[0], model.graph.node[0].output[0] = "in/0:x", "out/<0>"
    session = runtime_for(target).load(delivered(target, model, tmp_path), 1)
    found = session.run({"in/0:x": np.array([[-1, 0, 2]], np.float32)})
    assert found["out/<0>"].tolist() == [[0, 0, 2]]


@pytest.mark.parametrize("target", OFFERED)
def test_tensors_that_a_runtime_merges_into_an_output_are_none(target: Target, tmp_path: Path) -> None:
    """What is passed on under other names has several of them once it is compiled."""
    body = "g (float[N,3] x) => (float[N,3] y) { a = Softmax (x) b = Identity (a) y = Identity (b) }"
    runtime = runtime_for(target)
    file = tmp_path / delivered_name(target)
    runtime.convert(models.saved(models.parsed(body), tmp_path / "model.onnx"), file)
    session = runtime.load(runtime.unpack(file, tmp_path), 1)
    assert session.run({"x": np.zeros((2, 3), np.float32)}).keys() == {"y"}


def test_onnxruntime_delivers_the_very_bytes(tmp_path: Path) -> None:
    file = delivered(Target.ONNXRUNTIME_CPU, models.cnn(), tmp_path)
    assert file.read_bytes() == (tmp_path / "model.onnx").read_bytes()


def test_an_ort_file_is_optimized_for_any_processor(tmp_path: Path) -> None:
    target = Target.ONNXRUNTIME_CPU_ORT
    file = delivered(target, models.cnn(), tmp_path)
    assert file.read_bytes()[4:8] == b"ORTM"
    ops = {operator.op for operator in runtime_for(target).operators(file, images(1), 1, tmp_path)}
    assert "FusedConv" in ops
    assert "ReorderOutput" not in ops


def test_openvino_delivers_the_same_bytes_each_time(tmp_path: Path) -> None:
    archives = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        delivered(Target.OPENVINO_CPU, models.cnn(), tmp_path / name)
        archives.append((tmp_path / name / "openvino-cpu.zip").read_bytes())
    assert archives[0] == archives[1]


def test_openvino_keeps_full_precision_in_the_file(tmp_path: Path) -> None:
    delivered(Target.OPENVINO_CPU, models.random_mlp(hidden=64), tmp_path)
    with zipfile.ZipFile(tmp_path / "openvino-cpu.zip") as archive:
        assert archive.namelist() == ["model.xml", "model.bin"]
        assert archive.getinfo("model.bin").file_size >= 4 * 784 * 64
    assert not (tmp_path / "openvino-cpu.xml").exists()


@pytest.mark.parametrize(
    ("target", "unit", "precision"),
    [
        (Target.ONNXRUNTIME_CPU, "CPUExecutionProvider", "f32"),
        (Target.ONNXRUNTIME_CPU_ORT, "CPUExecutionProvider", "f32"),
        (Target.OPENVINO_CPU, "CPU", "f32"),
        pytest.param(Target.OPENVINO_CPU_BF16, "CPU", "bf16", marks=OFFERED[2].marks),  # type: ignore[union-attr]
    ],
)
def test_operators_tell_where_and_how_they_ran(target: Target, unit: str, precision: str, tmp_path: Path) -> None:
    file = delivered(target, models.random_mlp(hidden=256), tmp_path)
    found = runtime_for(target).operators(file, images(4), 1, tmp_path)
    assert {operator.unit for operator in found} == {unit}
    assert precision in {operator.precision for operator in found}
    assert all(operator.name and operator.op for operator in found)
    assert not list(tmp_path.glob("profile*"))


def test_integer_kernels_are_told_from_float_ones(tmp_path: Path) -> None:
    body = """g (float[N,4] x) => (float[N,3] y) {
        q, scale, zero = DynamicQuantizeLinear(x)
        m = MatMulInteger(q, w, zero)
        f = Cast <to = 1> (m)
        y = Mul(f, scale)
    }"""
    model = models.with_weights(models.parsed(body), w=np.ones((4, 3), np.int8))
    file = delivered(Target.ONNXRUNTIME_CPU, model, tmp_path)
    inputs = {"x": np.ones((1, 4), np.float32)}
    found = runtime_for(Target.ONNXRUNTIME_CPU).operators(file, inputs, 1, tmp_path)
    precisions = {operator.op: operator.precision for operator in found}
    assert precisions.get("MatMulInteger", precisions.get("MatMulIntegerToFloat")) in {"u8", "i8"}
    assert precisions["DynamicQuantizeLinear"] == "f32"


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(TargetBuildFailed, match="onnxruntime cannot load the model"):
        runtime_for(Target.ONNXRUNTIME_CPU).load(broken, 1)
    with pytest.raises(TargetBuildFailed, match="OpenVINO cannot convert the model"):
        runtime_for(Target.OPENVINO_CPU).convert(broken, tmp_path / "artifact.zip")


def test_an_operator_openvino_lacks_is_named(tmp_path: Path) -> None:
    model = models.parsed("g (float[N,3] x) => (float[N,3] y) { y = house.Made(x) }", domains=', "house": 1')
    with pytest.raises(TargetBuildFailed, match="Made"):
        delivered(Target.OPENVINO_CPU, model, tmp_path)


def test_one_file_cannot_hold_external_weights(tmp_path: Path) -> None:
    (tmp_path / "model.onnx.data").touch()
    for target in (Target.ONNXRUNTIME_CPU, Target.ONNXRUNTIME_CPU_ORT):
        with pytest.raises(TargetBuildFailed, match="2 GiB"):
            delivered(target, models.cnn(), tmp_path)


@pytest.mark.usefixtures("no_bf16")
def test_bf16_is_refused_where_it_would_be_emulated(tmp_path: Path) -> None:
    with pytest.raises(PrecisionNotOffered):
        delivered(Target.OPENVINO_CPU_BF16, models.cnn(), tmp_path)
    assert processor.cpu_model() == "Old One"


def test_names_of_delivered_files() -> None:
    names = {delivered_name(target) for target in Target}
    engines = {f"tensorrt-rtx-{capability}.engine" for capability in ("sm86", "sm89", "sm120")}
    assert names == engines | {
        "onnxruntime-cpu.onnx",
        "onnxruntime-cpu-ort.ort",
        "litert-cpu.tflite",
        "openvino-cpu.zip",
        "openvino-cpu-bf16.zip",
    }


def test_the_useful_line_of_a_long_message() -> None:
    assert first_line(RuntimeError("Exception from a.cpp:1:\nException from b.cpp:2:\nNo rule for Foo\n\n")) == (
        "No rule for Foo"
    )
    assert first_line(ValueError("")) == "ValueError"


def loaded_after(code: str) -> set[str]:
    """The modules a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport sys\nprint(*(name for name, module in sys.modules.items() if module))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_openvino_is_imported_without_its_telemetry() -> None:
    loaded = loaded_after("import workers.engine.targets.openvino_cpu")
    assert "openvino" in loaded
    assert not any(name.startswith("openvino_telemetry") for name in loaded)


def test_onnxruntime_is_imported_without_its_telemetry(tmp_path: Path) -> None:
    model = models.saved(models.relu(), tmp_path / "model.onnx")
    home = tmp_path / "home"
    home.mkdir()
    script = (
        "import sys\nfrom pathlib import Path\nfrom workers.engine.targets.onnxruntime_cpu import OnnxRuntimeCpu\n"
        "OnnxRuntimeCpu().load(Path(sys.argv[1]), 1)"
    )
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "ORT_DISABLE_TELEMETRY"}}
    subprocess.run([sys.executable, "-c", script, model], check=True, env=environment | {"HOME": str(home)})
    assert not list(home.rglob("*"))  # where it would keep the id of this device


def test_a_process_loads_only_the_runtime_it_measures() -> None:
    start = "from workers.engine.measure import runner\nfrom whetstone.contract.targets import Target\n"
    loaded = loaded_after(start + "runner.loader_for(Target.ONNXRUNTIME_CPU)")
    assert "onnxruntime" in loaded
    assert not {"openvino", "torch", "scipy", "matplotlib", "onnx"} & loaded


def test_cores_are_physical_and_allowed() -> None:
    cores = processor.usable_cores()
    assert cores
    assert list(cores) == sorted(set(cores))
    assert processor.OtherWork(cores).share() >= 0
    assert 0 <= processor.busy_cores(cores, 0.05) <= len(cores)


def test_a_quota_limits_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "CGROUP_QUOTA", tmp_path / "cpu.max")
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert len(processor.usable_cores()) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert len(processor.usable_cores()) >= 1


STREAMS = RuntimeSettings(threads=2, streams=2)


@pytest.mark.parametrize("target", OFFERED)
@pytest.mark.parametrize("settings", [STREAMS, RuntimeSettings(threads=1)])
def test_settings_change_how_a_model_runs_and_not_what_it_says(
    target: Target, settings: RuntimeSettings, tmp_path: Path
) -> None:
    session = runtime_for(target, settings).load(delivered(target, models.cnn(), tmp_path), 1)
    (expected,) = models.run(models.cnn(), **images(3))
    assert np.abs(session.run(images(3))["logits"] - expected).max() <= CLOSE[target]
    call = session.bind(images(3))
    call()
    call()


def test_onnxruntime_rewrites_a_graph_as_far_as_it_is_told(tmp_path: Path) -> None:
    file = delivered(Target.ONNXRUNTIME_CPU, models.cnn(), tmp_path)

    def operators(level: GraphOptimization) -> list[str]:
        runtime = runtime_for(Target.ONNXRUNTIME_CPU, RuntimeSettings(graph_optimization=level))
        return [operator.op for operator in runtime.operators(file, images(1), 1, tmp_path)]

    assert "ReorderOutput" in operators(GraphOptimization.ALL)
    assert "FusedConv" in operators(GraphOptimization.EXTENDED)
    assert not {"ReorderOutput", "FusedConv"} & set(operators(GraphOptimization.BASIC))
