"""Datasets that are no .npz, from upload to report, on a real worker: read in the sandbox alone."""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import csv, parquet
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from skops import io as skops_io

from app.embedded.service import Running
from examples import digits
from tests.service import facts
from tests.service.actors import new_tenant
from whetstone.client import Client
from whetstone.contract.columns import TableLabel
from whetstone.contract.datasets import Split
from whetstone.contract.failures import FailureCode
from whetstone.contract.passes import Simplify
from whetstone.contract.preprocessing import Channels, Images, Table, TableInput
from whetstone.contract.quantization import Quantize
from whetstone.errors import Invalid, UploadRejected

AS_TRAINED = Images(input="image", height=digits.SIDE, width=digits.SIDE, channels=Channels.GRAY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits and their model; the same digits as images."""
    folder = tmp_path_factory.mktemp("digits")
    digits.write(folder)
    with zipfile.ZipFile(folder / "digits.zip", "w") as archive:
        for name, picture in pictures():
            archive.writestr(name, picture)
    return folder


def pictures() -> Iterator[tuple[str, bytes]]:
    for split, (images, labels) in digits.load().items():
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            out = io.BytesIO()
            Image.fromarray(np.round(image[0] * 255).astype(np.uint8)).save(out, "PNG")
            yield f"digits/{split}/{label}/{number}.png", out.getvalue()


def test_images_are_worth_the_same_as_their_arrays(full_client: Client, folder: Path) -> None:
    client = full_client
    model = client.models.upload(folder / "digits.onnx")
    as_images = client.datasets.read(folder / "digits.zip", AS_TRAINED)
    as_arrays = client.datasets.upload(folder / "digits.npz")
    assert as_images.facts is not None
    assert as_arrays.facts is not None
    assert as_images.preprocessing == AS_TRAINED
    assert as_images.facts.class_names == tuple("0123456789")
    assert as_images.facts.splits == as_arrays.facts.splits
    found = []
    for data in (as_images, as_arrays):
        order = facts.spec(model.id, data.id, Quantize(), measurement={"max_seconds": 2})
        (target,) = client.jobs.wait(client.jobs.submit(order).id).targets
        assert target.accuracy is not None
        found.append(target.accuracy.original)
    assert found[0] == pytest.approx(found[1], abs=0.002)  # pixels have 8 bits


def test_a_table_is_worth_the_same_as_csv_and_as_parquet(full_client: Client, tmp_path: Path) -> None:
    bunch = load_breast_cancer()
    names, rows = [str(name) for name in bunch.feature_names], bunch.data.astype(np.float32)
    fitted = LogisticRegression(max_iter=10_000).fit(rows[:400], bunch.target[:400])
    skops_io.dump(fitted, tmp_path / "model.skops")
    said = np.array(["benign" if each else "aggressive" for each in bunch.target])  # in the order of the classes
    part = np.where(np.arange(len(rows)) < 400, "train", "test")
    table = pa.table(dict(zip(names, rows.T, strict=True)) | {"diagnosis": said, "part": part})
    parquet.write_table(table, tmp_path / "d.parquet")
    csv.write_csv(table, tmp_path / "d.csv")
    how = Table(
        inputs=(TableInput(name="input", columns=tuple(names)),), label=TableLabel(column="diagnosis"), split="part"
    )
    model = full_client.models.upload(tmp_path / "model.skops")
    accuracies = []
    for file in ("d.parquet", "d.csv"):
        data = full_client.datasets.read(tmp_path / file, how)
        assert data.facts is not None
        assert (data.facts.splits, data.facts.class_names) == (
            {Split.TRAIN: 400, Split.TEST: 169},
            ("aggressive", "benign"),
        )
        order = facts.spec(model.id, data.id, Simplify(), measurement={"max_seconds": 1})
        (target,) = full_client.jobs.wait(full_client.jobs.submit(order).id).targets
        assert target.accuracy is not None
        accuracies.append(target.accuracy.original)
    expected = fitted.score(rows[400:], bunch.target[400:])
    assert accuracies == pytest.approx([expected, expected])


def test_what_is_wrong_is_told_when_it_arrives(full_client: Client, folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("a/1.png", b"no image")
    with pytest.raises(UploadRejected, match=r"'a/1.png' cannot be read as an image") as rejected:
        full_client.datasets.read(tmp_path / "d.zip", AS_TRAINED)
    assert rejected.value.failure.code is FailureCode.INVALID_DATASET
    with pytest.raises(Invalid, match="invalid_preprocessing") as refused:
        full_client.datasets.upload(folder / "digits.zip", preprocessing='{"kind": "images", "input": "x", "width": 1}')
    assert [problem.field for problem in refused.value.problem.errors] == ["preprocessing/height"]


def test_the_command_line_declares_it_in_a_file(full: Running, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "how.json").write_text(AS_TRAINED.model_dump_json(exclude_none=True))
    command = [sys.executable, "-m", "whetstone.cli", "datasets", "upload", str(folder / "digits.zip")]
    environment = os.environ | {"WHETSTONE_URL": full.url, "WHETSTONE_API_KEY": new_tenant(full)}
    done = subprocess.run(
        [*command, "--preprocessing", str(tmp_path / "how.json"), "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["facts"]["format"] == "images"
