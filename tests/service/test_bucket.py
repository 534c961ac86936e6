"""A job's whole way with all files in a bucket and a real worker, which has no key of it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.core.storage import PART
from app.embedded import service as embedded
from app.embedded.service import Running
from examples import digits
from tests.service.actors import new_tenant, query
from tests.service.conftest import QUICK, data_folder
from whetstone.client import Client
from whetstone.contract.failures import FailureCode
from whetstone.contract.jobs import JobSpec, Measurement, Recipe
from whetstone.contract.models import InspectionState, ModelRead
from whetstone.contract.quantization import Quantize
from whetstone.contract.reports import ReportForm


@pytest.fixture(scope="module")
def full(bucket: dict[str, str]) -> Iterator[Running]:
    with data_folder() as folder, embedded.running(folder, "127.0.0.1", 0, **QUICK, **bucket) as running:
        yield running


def test_a_job_goes_its_way_through_the_bucket(full: Running, tmp_path: Path) -> None:
    path, data = digits.write(tmp_path)
    with Client(full.url, new_tenant(full)) as client:
        model, dataset = client.models.upload(path), client.datasets.upload(data)
        spec = JobSpec(
            model_id=model.id,
            dataset_id=dataset.id,
            plan=Recipe(passes=(Quantize(),)),
            measurement=Measurement(max_seconds=1),
        )
        job = client.jobs.submit(spec)
        report = client.jobs.wait(job.id)
        assert report.targets
        files = client.jobs.download(job.id, tmp_path / "results")
        assert {"report.html", "report.json"} <= {file.name for file in files}
        assert "<html" in client.jobs.report_text(job.id, ReportForm.HTML)
        keys = query(full, "select key from files where tenant_id = %s", client.me().tenant_id)
    assert len(keys) > len(files) / 2
    stored = Path(full.owner_file).parent / "files"
    assert not stored.exists()  # nothing went into a folder instead


def test_a_worker_finds_that_a_file_is_not_what_was_announced(full: Running) -> None:
    content = b"\x08\x0a" * (PART // 2 + 1)
    with Client(full.url, new_tenant(full)) as client:
        begun = client.uploads.begin(len(content), hashlib.sha256(b"another").hexdigest())
        for link in client.uploads.missing(begun.id):
            part = content[link.offset : link.offset + link.size]
            assert httpx.put(link.url, content=part, headers=link.headers).is_success
        client.uploads.complete(begun.id)
        params = {"filename": "lie.onnx", "upload_id": begun.id}
        row = ModelRead.model_validate_json(client.request("POST", "/v1/models", params=params).content)
        while row.state is InspectionState.INSPECTING:
            row = client.models.get(row.id, wait=10)
        assert row.state is InspectionState.REJECTED
        assert row.failure is not None
        assert row.failure.code is FailureCode.WRONG_CONTENT
