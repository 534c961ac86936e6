"""A bundle, unpacked and run in a clean process, says what the report says."""

import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.engine import models
from tests.engine.report import factory
from tests.engine.test_deliver import HOW, SMALLER, halved, run
from whetstone.contract.metrics import Metric
from whetstone.contract.models import TensorFacts
from whetstone.contract.presets import GENERAL
from whetstone.contract.provenance import Envelope, Signature
from whetstone.contract.reports import BuiltReport, TargetReport
from whetstone.contract.steps import Deliver, Delivered, InputRole, MakeReport
from whetstone.contract.targets import RuntimeSettings, Target
from workers.engine.bundle.triton import config
from workers.engine.deliver import deliver
from workers.engine.report.page import make_report
from workers.engine.request import Done, Request


def envelope(done: Done, report: TargetReport | BuiltReport) -> Envelope:
    """As the control plane makes it, but for the signature, which nothing here looks at."""
    assert isinstance(done.result, Delivered)
    statement = factory.statement({one.name: one.sha256 for one in done.result.packed}, report)
    payload = base64.b64encode(statement.model_dump_json(by_alias=True).encode()).decode()
    return Envelope(payload=payload, signatures=(Signature(keyid="0" * 64, sig=""),))


def unpacked(folder: Path, done: Done, report: TargetReport | BuiltReport) -> Path:
    """The folder inside the bundle that the report step makes."""
    made = folder / "report"
    made.mkdir()
    task = MakeReport(report=factory.job_report(), manifests={report.target: envelope(done, report)})
    request = Request(task=task, inputs={InputRole.KIT: folder / "outputs"}, outputs=made, scratch=folder)
    bundle = make_report(request, task, [].append).outputs[-1].name
    with tarfile.open(made / bundle) as archive:
        assert {(entry.mtime, entry.uid, entry.mode) for entry in archive} == {(0, 0, 0o644)}
        archive.extractall(folder / "unpacked", filter="data")
    (inside,) = (folder / "unpacked").iterdir()
    return inside


def reproduce(folder: Path) -> subprocess.CompletedProcess[str]:
    """`-I`: nothing of this repository can be imported."""
    command = [sys.executable, "-I", "-B", "reproduce.py", "--seconds", "1"]
    return subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False)


def figures(said: str, name: str) -> list[float]:
    line = next(line for line in said.splitlines() if line.startswith(name))
    return [float(number) for number in re.findall(r"-?\d+\.\d+", line.removeprefix(name))]


@pytest.mark.parametrize("target", [Target.ONNXRUNTIME_CPU, Target.ONNXRUNTIME_CPU_ORT, Target.OPENVINO_CPU])
def test_what_was_measured_can_be_measured_again(tmp_path: Path, target: Target) -> None:
    done, report = run(tmp_path, halved(), target=target)
    folder = unpacked(tmp_path, done, report)
    again = reproduce(folder)
    assert again.returncode == 0, again.stderr
    assert figures(again.stdout, "accuracy, original") == [1.0, 1.0]
    claimed, here = figures(again.stdout, "accuracy, result")
    assert claimed == here
    claimed, here = figures(again.stdout, "signal to noise, dB")
    assert claimed == pytest.approx(here, abs=0.1)
    assert figures(again.stdout, "agreement %")[0] == figures(again.stdout, "agreement %")[1]
    assert len(figures(again.stdout, "speed-up")) == 6
    assert all(ms > 0 for ms in figures(again.stdout, "p50, result, ms"))
    pinned = (folder / "requirements.txt").read_text().splitlines()
    assert [line.partition("==")[0] for line in pinned] == sorted(["numpy", target.runtime])


def test_without_labels_and_with_streams(tmp_path: Path) -> None:
    done, report = run(tmp_path, halved(), data=False, settings=RuntimeSettings(streams=2))
    again = reproduce(unpacked(tmp_path, done, report))
    assert again.returncode == 0, again.stderr
    assert "256 of 256 samples" in again.stdout
    assert "accuracy" not in again.stdout
    claimed, here = figures(again.stdout, "cosine")
    assert claimed == here


def test_a_file_that_was_changed_is_named(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, *run(tmp_path, halved()))
    models.saved(models.random_mlp(seed=3, hidden=64), folder / "result" / "onnxruntime-cpu.onnx")
    again = reproduce(folder)
    assert again.returncode == 1
    assert "not what the manifest says: result/onnxruntime-cpu.onnx" in again.stderr


def test_the_same_measurement_packs_the_same_bytes(tmp_path: Path) -> None:
    hashes = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        done, _ = run(folder, halved(), budget=SMALLER)
        kit = folder / "outputs" / done.outputs[-1].name
        hashes.append(hashlib.sha256(kit.read_bytes()).hexdigest())
        with tarfile.open(kit) as archive:
            packed = {
                entry.name.partition("/")[2]: hashlib.sha256(archive.extractfile(entry).read()).hexdigest()
                for entry in archive
            }
        assert isinstance(done.result, Delivered)
        assert packed == {one.name: one.sha256 for one in done.result.packed}
    assert hashes[0] == hashes[1]


def test_the_toolchain_is_a_cyclonedx_list_of_the_environment(tmp_path: Path) -> None:
    run(tmp_path, halved())
    document = json.loads((tmp_path / "outputs" / "onnxruntime-cpu.toolchain.cdx.json").read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    versions = {part["name"]: part["version"] for part in document["components"]}
    assert versions["onnxruntime"] == onnxruntime.__version__
    assert {"torch", "numpy", "python"} <= set(versions)


def test_the_configuration_for_triton(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, *run(tmp_path, halved()))
    assert (folder / "triton" / "config.pbtxt").read_text().splitlines() == [
        'name: "onnxruntime-cpu"',
        'backend: "onnxruntime"',
        "max_batch_size: 0",
        'default_model_filename: "model.onnx"',
        'input { name: "x" data_type: TYPE_FP32 dims: [ -1, 1, 28, 28 ] }',
        'output { name: "logits" data_type: TYPE_FP32 dims: [ -1, 10 ] }',
    ]
    scalar = TensorFacts(name='a"b', dtype="int64", shape=())
    assert config(Target.ONNXRUNTIME_CPU_ORT, (scalar,), ()) is None
    text = config(Target.OPENVINO_CPU_BF16, (scalar,), ())
    assert text is not None
    assert 'input { name: "a\\"b" data_type: TYPE_INT64 dims: [ 1 ] reshape: { shape: [ ] } }' in text
    assert 'backend: "openvino"' in text
    assert config(Target.ONNXRUNTIME_CPU, (scalar.model_copy(update={"dtype": "complex64"}),), ()) is None


@pytest.mark.parametrize("metric", [Metric.AUC, Metric.LOG_LOSS])
def test_clicks_are_judged_again_by_the_same_metric(tmp_path: Path, metric: Metric) -> None:
    body = "g (float[N,3] x) => (float[N,1] y) <float[3,1] w = {{{weights}}}> {{ z = MatMul(x, w) y = Sigmoid(z) }}"
    x = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, labels=(x.sum(axis=1) + x[:, 0] ** 2 > 1).astype(np.int64))
    (tmp_path / "outputs").mkdir()
    inputs = {
        InputRole.MODEL: models.saved(models.parsed(body.format(weights="1, 1, 1")), tmp_path / "original.onnx"),
        InputRole.RESULT: models.saved(models.parsed(body.format(weights="1, 0.5, 1")), tmp_path / "result.onnx"),
        InputRole.DATASET: tmp_path / "data.npz",
    }
    preset = GENERAL.model_copy(update={"metric": metric})
    task = Deliver(target=Target.ONNXRUNTIME_CPU, budget=SMALLER, measurement=HOW, preset=preset)
    request = Request(task=task, inputs=inputs, outputs=tmp_path / "outputs", scratch=tmp_path)
    done = deliver(request, task, [].append)
    assert isinstance(done.result, Delivered)
    again = reproduce(unpacked(tmp_path, done, done.result.report))
    assert again.returncode == 0, again.stderr
    for side in ("original", "result"):
        claimed, here = figures(again.stdout, f"{metric}, {side}")
        assert claimed == here
    assert figures(again.stdout, f"{metric}, original") != figures(again.stdout, f"{metric}, result")
