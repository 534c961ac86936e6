"""The gate for CI, on real models: the command's exit codes, and the GitHub Actions workflow that we hand out."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.embedded.service import Running
from examples import digits
from tests.service.actors import new_tenant
from whetstone.client import Client
from whetstone.contract.checks import CheckRead, Judged, Outcome
from whetstone.contract.jobs import Budget, JobSpec, Measurement, Objective, Recipe
from whetstone.contract.passes import Simplify
from whetstone.contract.quantization import Quantize

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "examples" / "github-actions" / "model-check.yml"
UNTIMED = ("--skip", "latency")  # how quick, and how quiet, this machine is at the moment decides nothing here


@pytest.fixture(scope="module")
def key(full: Running) -> str:
    return new_tenant(full)


@pytest.fixture(scope="module")
def folder(full: Running, key: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The float model, what a job made of it, and that job's id."""
    folder = tmp_path_factory.mktemp("gate")
    digits.write(folder)
    with Client(full.url, key) as client:
        spec = JobSpec(
            model_id=client.models.upload(folder / "digits.onnx").id,
            dataset_id=client.datasets.upload(folder / "digits.npz").id,
            plan=Recipe(passes=(Simplify(), Quantize())),
            budget=Budget(objective=Objective.SIZE, max_drop=2, max_slowdown=100),
            measurement=Measurement(max_seconds=2, threads=1),
        )
        job = client.jobs.submit(spec)
        client.jobs.wait(job.id)
        client.jobs.download(job.id, folder / "results")
    (folder / "job").write_text(job.id)
    (folder / "bin").mkdir()
    whet = folder / "bin" / "whet"
    whet.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m whetstone.cli "$@"\n')
    whet.chmod(0o755)
    return folder


def environment(service: Running, key: str, folder: Path) -> dict[str, str]:
    return os.environ | {
        "WHETSTONE_URL": service.url,
        "WHETSTONE_API_KEY": key,
        "HOME": str(folder),
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "COLUMNS": "200",
    }


def whet(service: Running, key: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    given = environment(service, key, folder)
    return subprocess.run(["whet", *words], env=given, cwd=folder, text=True, capture_output=True, check=False)


def gate(service: Running, key: str, folder: Path, model: str, *words: str) -> tuple[int, CheckRead]:
    job = (folder / "job").read_text()
    done = whet(service, key, folder, "check", model, "--against", job, *UNTIMED, "--json", *words)
    assert done.stdout, done.stderr
    return done.returncode, CheckRead.model_validate_json(done.stdout)


def test_the_same_model_passes(full: Running, key: str, folder: Path) -> None:
    code, check = gate(full, key, folder, "results/model.onnx")
    assert (code, check.outcome) == (0, Outcome.PASS), check.findings
    (seen,) = check.measured
    assert seen.accuracy is not None
    assert (seen.accuracy.samples, seen.accuracy.drop.value) == (629, 0)
    assert seen.baseline.size == seen.candidate.size


def test_a_larger_model_fails(full: Running, key: str, folder: Path) -> None:
    code, check = gate(full, key, folder, "digits.onnx")
    assert (code, check.outcome) == (1, Outcome.FAIL)
    assert [each.judged for each in check.findings if each.outcome is Outcome.FAIL] == [Judged.SIZE]


def test_what_so_few_samples_cannot_tell_is_inconclusive(full: Running, key: str, folder: Path) -> None:
    code, check = gate(full, key, folder, "results/model.onnx", "--max-drop", "0.01")
    assert (code, check.outcome) == (2, Outcome.INCONCLUSIVE)
    shown = whet(full, key, folder, "checks", "show", check.id).stdout
    assert "the limit lies within the interval" in shown
    assert check.id in whet(full, key, folder, "checks", "list").stdout


def test_whatever_goes_wrong_is_neither_pass_nor_fail(full: Running, key: str, folder: Path) -> None:
    nobody = "job_01h455vb4pex5vsknk084sn02q"
    assert whet(full, key, folder, "check", "results/model.onnx", "--against", nobody).returncode == 2
    assert whet(full, key, folder, "check", "results/model.onnx", "--against", "no id").returncode == 2
    assert whet(full, key, folder, "check", "missing.onnx", "--against", nobody).returncode == 2
    assert whet(full, "whet_wrong", folder, "check", nobody, "--against", nobody).returncode == 2


def steps() -> list[dict[str, Any]]:
    """Of the workflow, which must be one: `on` is read as true by YAML 1.1."""
    workflow = yaml.safe_load(WORKFLOW.read_text())
    assert set(workflow) == {"name", True, "permissions", "jobs"}
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert set(job) == {"runs-on", "timeout-minutes", "steps"}
    assert all(("uses" in step) != ("run" in step) for step in job["steps"])
    return list(job["steps"])


@pytest.mark.parametrize(("model", "code"), [("results/model.onnx", 0), ("digits.onnx", 1)])
def test_the_workflow_says_so_to_github(full: Running, key: str, folder: Path, model: str, code: int) -> None:
    """Its step is run as GitHub runs it, with `--noprofile --norc -eo pipefail`; but for the latency."""
    step = steps()[-1]
    assert step["shell"] == "bash"
    assert set(step["env"]) == {"WHETSTONE_URL", "WHETSTONE_API_KEY", "WHETSTONE_BASELINE"}
    (folder / "model.onnx").write_bytes((folder / model).read_bytes())
    summary = folder / "summary"
    given = environment(full, key, folder) | {
        "WHETSTONE_BASELINE": (folder / "job").read_text(),
        "GITHUB_STEP_SUMMARY": str(summary),
    }
    script = step["run"].replace("--max-slowdown 1.1", " ".join(UNTIMED))
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    done = subprocess.run(command, env=given, cwd=folder, text=True, capture_output=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "chk_" in summary.read_text()


def test_the_key_that_the_workflow_asks_for_is_enough(full: Running, key: str, folder: Path) -> None:
    made = whet(full, key, folder, "keys", "create", "ci", "--scope", "read", "--scope", "write", "--json")
    secret = httpx.Response(200, text=made.stdout).json()["secret"]
    code, check = gate(full, secret, folder, "results/model.onnx")
    assert (code, check.outcome) == (0, Outcome.PASS)
