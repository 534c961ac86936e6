"""From upload to report with a real worker, through the client and through the command line."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from app.embedded.service import Running
from examples import digits
from tests.service import facts
from tests.service.actors import new_tenant
from whetstone import verify
from whetstone.client import Client
from whetstone.contract.jobs import Budget, JobSpec, Measurement, Objective, StepKind
from whetstone.contract.learning import EarlyStopping, Finetune, Learning
from whetstone.contract.metrics import Metric
from whetstone.contract.provenance import MANIFESTS
from whetstone.contract.pruning import Polynomial, Prune
from whetstone.contract.quantization import Quantize
from whetstone.contract.reports import VerdictKind
from whetstone.contract.scenarios import Server
from whetstone.contract.search import Limit, Search
from whetstone.contract.targets import Target


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    digits.write(folder)
    return folder


def test_prune_finetune_quantize_for_two_targets(full_client: Client, example: Path, tmp_path: Path) -> None:
    client = full_client
    model = client.models.upload(example / "digits.onnx")
    data = client.datasets.upload(example / "digits.npz")
    assert model.facts is not None
    assert (model.facts.params, model.facts.macs) == (101_770, 101_632)
    assert data.facts is not None
    assert data.facts.classes == 10
    learning = Learning(epochs=2, batch_size=64)
    passes = (
        Prune(sparsity=0.5, schedule=Polynomial(end_step=30, every=5, learning=learning)),
        Finetune(epochs=4, early_stopping=EarlyStopping(patience=2)),
        Quantize(),
        Finetune(epochs=2, learning_rate=1e-4, learn_scales=True),
    )
    targets = (Target.ONNXRUNTIME_CPU, Target.OPENVINO_CPU)
    budget = {"objective": Objective.SIZE, "max_drop": 3}
    how = {"max_seconds": 5, "scenarios": (Server(rate=100, latency_ms=500, percent=50),)}
    order = facts.spec(model.id, data.id, *passes, targets=targets, budget=budget, measurement=how)
    job = client.jobs.submit(order)
    seen = []
    report = client.jobs.wait(job.id, seen.append)
    assert report.verdict.kind is VerdictKind.IMPROVED
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert [target.target for target in report.targets] == list(targets)
    for target in report.targets:
        assert target.size_ratio > 2.5
        assert target.accuracy is not None
        assert target.accuracy.metric is Metric.ACCURACY
        assert target.accuracy.samples == 629
        assert target.accuracy.original > 0.9
        assert target.speedup.low <= target.speedup.value <= target.speedup.high
        assert target.calibration is not None
        assert target.saliency is not None
        assert [load.scenario.kind for load in target.scenarios] == ["server"]
    assert all(done.noise for done in report.passes)
    files = {path.name: path for path in client.jobs.download(job.id, tmp_path)}
    assert {"model.onnx", "report.html", "report.json", "onnxruntime-cpu.onnx", "openvino-cpu.zip"} <= set(files)
    _check_bundle(client, files["openvino-cpu.bundle.tar.gz"], tmp_path)
    assert b"<script" not in files["report.html"].read_bytes()
    _check_claim(files["onnxruntime-cpu.onnx"], example / "digits.npz", report.targets[0].accuracy.result)


def _check_bundle(client: Client, bundle: Path, folder: Path) -> None:
    """What came out of a real job is proven, and says the same again in a clean process."""
    keys = verify.usable(verify.fetch_keys(client.url))
    assert "result/openvino-cpu.zip" in verify.verify_bundle(bundle, keys).names
    verify.verify_file(bundle, verify.read_manifests(folder / MANIFESTS), keys)
    with tarfile.open(bundle) as archive:
        archive.extractall(folder, filter="data")
    command = [sys.executable, "-I", "-B", "reproduce.py", "--seconds", "1"]
    again = subprocess.run(command, cwd=folder / "openvino-cpu", text=True, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "629 of 629 samples" in again.stdout
    claimed, here = next(line.split()[-2:] for line in again.stdout.splitlines() if "accuracy, result" in line)
    assert claimed == here


def _check_claim(model: Path, data: Path, claimed: float) -> None:
    """The delivered file, run by hand, has the accuracy that the report claims."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    arrays = np.load(data)
    (logits,) = session.run(None, {"image": arrays["test/image"]})
    assert float((logits.argmax(1) == arrays["test/labels"]).mean()) == pytest.approx(claimed, abs=0.002)


def test_a_search_finds_the_recipe(full_client: Client, example: Path) -> None:
    client = full_client
    model = client.models.upload(example / "digits.onnx")
    data = client.datasets.upload(example / "digits.npz")
    order = JobSpec(
        model_id=model.id,
        dataset_id=data.id,
        plan=Search(limit=Limit(trials=4)),
        targets=(Target.ONNXRUNTIME_CPU, Target.OPENVINO_CPU),
        budget=Budget(objective=Objective.SIZE, max_drop=2),
        measurement=Measurement(max_seconds=2),
    )
    job = client.jobs.submit(order)
    report = client.jobs.wait(job.id)
    assert report.verdict.kind is VerdictKind.IMPROVED
    assert len(report.candidates) == 8
    assert sum(candidate.chosen for candidate in report.candidates) == 2
    assert [done.config.kind for done in report.passes] == ["simplify", "quantize"]
    kinds = [step.kind for step in client.jobs.get(job.id).steps]
    assert kinds == [StepKind.SEARCH, StepKind.DELIVER, StepKind.DELIVER, StepKind.REPORT]
    page = client.request("GET", f"/v1/jobs/{job.id}/report.html").text
    assert "What was tried" in page


def test_a_model_without_a_dataset(full_client: Client, example: Path) -> None:
    client = full_client
    model = client.models.upload(example / "digits.onnx")
    job = client.jobs.submit(facts.spec(model.id, None, facts.DYNAMIC, measurement={"max_seconds": 2}))
    report = client.jobs.wait(job.id)
    (target,) = report.targets
    assert target.accuracy is None
    assert target.fidelity.synthetic_inputs


def test_the_command_line(full: Running, example: Path, tmp_path: Path) -> None:
    environment = os.environ | {"WHETSTONE_URL": full.url, "WHETSTONE_API_KEY": new_tenant(full), "HOME": str(tmp_path)}

    def whet(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "whetstone.cli", *words]
        return subprocess.run(command, env=environment, text=True, capture_output=True, check=False)

    uploaded = whet("models", "upload", str(example / "digits.onnx"), "--json")
    assert uploaded.returncode == 0, uploaded.stderr
    model_id = json.loads(uploaded.stdout)["id"]
    done = whet(
        "optimize", model_id, "--data", str(example / "digits.npz"), "--objective", "size", "--max-drop", "2",
        "--seconds", "2", "--trials", "3", "-o", str(tmp_path / "out"), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"]["kind"] == "improved"
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    shown = whet("report", report["job_id"])
    assert shown.returncode == 0
    assert "improved" in shown.stdout
    assert whet("jobs", "show", report["job_id"]).stdout.count("succeeded") == 4
    assert report["job_id"] in whet("jobs", "list").stdout
    listed = whet("download", report["job_id"], "-o", str(tmp_path / "again")).stdout.splitlines()
    assert sorted(listed) == sorted(str(file) for file in (tmp_path / "again").iterdir())
    assert json.loads(whet("report", report["job_id"], "--format", "json").stdout) == report
    page = whet("report", report["job_id"], "--format", "html").stdout
    assert page.strip() == (tmp_path / "out" / "report.html").read_text().strip()
    text = whet("report", report["job_id"], "--format", "md").stdout
    assert text.startswith("# Improved: ")
    assert "| file size |" in text
    assert whet("jobs", "show", "job_01h455vb4pex5vsknk084sn02q").returncode == 4
    assert whet("optimize", "missing.onnx").returncode == 2
    hopeless = whet(
        "optimize",
        model_id,
        "--data",
        str(example / "digits.npz"),
        "--objective",
        "size",
        "--prune",
        "0.99",
        "--seconds",
        "2",
        "-o",
        str(tmp_path / "no"),
    )
    assert hopeless.returncode == 10, hopeless.stderr
    environment["WHETSTONE_URL"] = "http://127.0.0.1:9"
    assert whet("jobs", "list").returncode == 3


@pytest.mark.timeout(600)
def test_a_model_and_nothing_else(full: Running, example: Path, tmp_path: Path) -> None:
    """`whet optimize model.onnx` searches with what is sensible by default, and says what it came to."""
    environment = os.environ | {"WHETSTONE_URL": full.url, "WHETSTONE_API_KEY": new_tenant(full), "HOME": str(tmp_path)}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])  # it runs in another folder
    command = [sys.executable, "-m", "whetstone.cli", "optimize", str(example / "digits.onnx")]
    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode in {0, 10}, done.stderr
    report = json.loads((tmp_path / "whetstone-results" / "report.json").read_text())
    assert report["search"]["trials"] > 5
    kinds = {config["kind"] for candidate in report["candidates"] for config in candidate["recipe"]}
    assert {"simplify", "quantize", "prune", "factorize"} <= kinds
    assert all(candidate["because"] for candidate in report["candidates"])


def test_login(full: Running, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WHETSTONE_")}
    environment |= {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    email, password = (line.split()[1] for line in full.owner_file.read_text().splitlines()[1:3])

    def whet(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "whetstone.cli", *words]
        return subprocess.run(command, env=environment, text=True, capture_output=True, check=False)

    assert whet("jobs", "list").returncode == 3
    wrong = whet("login", full.url, "--email", email, "--password", "wrong")
    assert (wrong.returncode, "wrong_login" in wrong.stderr) == (4, True)
    right = whet("login", full.url, "--email", email, "--password", password)
    assert right.returncode == 0, right.stderr
    (saved,) = (tmp_path / "config").rglob("login.json")
    assert saved.stat().st_mode & 0o777 == 0o600
    assert whet("jobs", "list").returncode == 0
