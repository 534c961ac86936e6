"""Calibrating at the tenant's side, from the command line to a report, on a real worker; and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.embedded.service import Running
from examples import digits
from tests.service import facts
from tests.service.actors import new_tenant
from whetstone.client import Client
from whetstone.contract.jobs import JobSpec, Recipe
from whetstone.contract.passes import Pass, Simplify
from whetstone.contract.preprocessing import StatisticsFile
from whetstone.contract.pruning import Prune
from whetstone.contract.quantization import Activations, Quantize, Smooth
from whetstone.contract.search import Search
from whetstone.errors import Invalid, UploadRejected


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    digits.write(folder)
    return folder


def whet(service: Running, key: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"WHETSTONE_URL": service.url, "WHETSTONE_API_KEY": key}
    command = [sys.executable, "-m", "whetstone.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_model_is_quantized_without_its_data(full: Running, folder: Path, tmp_path: Path) -> None:
    key = new_tenant(full)
    model, written = folder / "digits.onnx", tmp_path / "s.json"
    done = whet(full, key, "calibrate", model, folder / "digits.npz", "-o", written, "--json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["facts"]["format"] == "statistics"
    assert row["size"] == written.stat().st_size
    order = ["optimize", model, "--quantize", "static", "--calibration", row["id"], "--seconds", "1", "--json"]
    done = whet(full, key, *order, "-o", tmp_path / "out")
    (target,) = json.loads(done.stdout)["targets"]
    assert target["size_ratio"] > 2
    assert target["fidelity"]["synthetic_inputs"]


def test_only_the_file_is_written_where_that_is_asked_for(full: Running, folder: Path, tmp_path: Path) -> None:
    written = tmp_path / "s.json"
    model, data = folder / "digits.onnx", folder / "digits.npz"
    done = whet(full, "no key", "calibrate", model, data, "-o", written, "--no-upload", "--samples", "5", "--json")
    assert json.loads(done.stdout) == json.loads(written.read_text())
    assert json.loads(done.stdout)["samples"] == 5


STATIC = Quantize(activations=Activations.STATIC)


@pytest.mark.parametrize(
    ("passes", "told"),
    [
        ((Simplify(),), "which the plan has not"),
        ((Quantize(activations=Activations.DYNAMIC),), "which the plan has not"),
        ((Prune(sparsity=0.5), STATIC), "what comes before it"),
        ((Quantize(equalize=True),), "change the ranges"),
        ((Quantize(bias_correction=True),), "dataset_required"),
        ((Quantize(smooth=Smooth()),), "dataset_required"),
    ],
)
def test_orders_that_have_no_use_for_them(
    full_client: Client, folder: Path, passes: tuple[Pass, ...], told: str
) -> None:
    model, statistics = prepared(full_client, folder)
    with pytest.raises(Invalid, match=told):
        full_client.jobs.submit(JobSpec(model_id=model, calibration_id=statistics, plan=Recipe(passes=passes)))


def test_a_search_has_no_use_for_them(full_client: Client, folder: Path) -> None:
    model, statistics = prepared(full_client, folder)
    with pytest.raises(Invalid, match="which the plan has not"):
        full_client.jobs.submit(JobSpec(model_id=model, calibration_id=statistics, plan=Search()))


def test_statistics_of_another_model_and_datasets_in_their_place(full_client: Client, folder: Path) -> None:
    model, statistics = prepared(full_client, folder)
    other = full_client.datasets.read(changed(folder, model_sha256="0" * 64), StatisticsFile())
    samples = full_client.datasets.upload(folder / "digits.npz")
    for wrong in (other.id, samples.id):
        with pytest.raises(Invalid, match="statistics_mismatch"):
            full_client.jobs.submit(JobSpec(model_id=model, calibration_id=wrong, plan=Recipe(passes=(STATIC,))))
    with pytest.raises(Invalid, match="holds statistics and no samples"):
        full_client.jobs.submit(facts.spec(model, statistics, STATIC))


def test_numbers_that_are_none_are_refused_on_arrival(full_client: Client, folder: Path) -> None:
    tensors = json.loads(statistics_of(folder).read_text())["tensors"]
    tensors[0]["low"] = tensors[0]["high"] + 1
    with pytest.raises(UploadRejected, match="tensors/0"):
        full_client.datasets.read(changed(folder, tensors=tensors), StatisticsFile())


def prepared(client: Client, folder: Path) -> tuple[str, str]:
    model = client.models.upload(folder / "digits.onnx")
    return model.id, client.datasets.read(statistics_of(folder), StatisticsFile()).id


def statistics_of(folder: Path) -> Path:
    path = folder / "statistics.json"
    if not path.exists():
        command = [sys.executable, "-m", "whetstone.cli", "calibrate", str(folder / "digits.onnx")]
        command += [str(folder / "digits.npz"), "--samples", "8", "--no-upload", "-o", str(path)]
        subprocess.run(command, check=True, capture_output=True)
    return path


def changed(folder: Path, **fields: Any) -> Path:
    path = folder / "changed.json"
    path.write_text(json.dumps(json.loads(statistics_of(folder).read_text()) | fields))
    return path


def test_the_samples_are_what_the_engine_would_choose(folder: Path) -> None:
    """The statistics of the model's own input are those of the calibration split."""
    with np.load(folder / "digits.npz") as arrays:
        name = next(key for key in arrays if key.startswith(("calibration/", "train/")) and "labels" not in key)
        rows = arrays[name]
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:8])
    told = json.loads(statistics_of(folder).read_text())["tensors"]
    (own,) = [tensor for tensor in told if tensor["name"] == name.partition("/")[2]]
    assert (own["low"], own["high"]) == (float(rows[chosen].min()), float(rows[chosen].max()))
