"""The README's examples do what they say."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.embedded.service import Running
from examples import digits
from tests.service.actors import new_tenant
from whetstone.client import Client

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    model, data = digits.write(folder)
    model.rename(folder / "model.onnx")
    data.rename(folder / "data.npz")
    return folder


def environment(service: Running) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return os.environ | {"WHETSTONE_URL": service.url, "WHETSTONE_API_KEY": new_tenant(service), "PYTHONPATH": root}


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="needs curl and jq")
def test_the_three_calls(full: Running, folder: Path) -> None:
    variables = environment(full)
    script = f"set -eu\n{block('sh')}\necho $job"
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=variables, text=True, capture_output=True, check=True)
    job_id = done.stdout.strip()
    with Client(full.url, variables["WHETSTONE_API_KEY"]) as client:
        assert client.jobs.get(job_id).name == "model.onnx"
        client.jobs.cancel(job_id)  # what it would come to is tested elsewhere


def test_the_python_example(full: Running, folder: Path) -> None:
    quick = block("python").replace("budget=Budget(", "measurement={'max_seconds': 2}, budget=Budget(")
    done = subprocess.run(
        [sys.executable, "-c", quick], cwd=folder, env=environment(full), text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "The " in done.stdout
    assert (folder / "results" / "report.html").exists()
