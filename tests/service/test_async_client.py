"""The client for asyncio against a real service: an order from upload to files, many calls at once, errors by type."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from app.embedded.service import Running
from examples import digits
from tests.service import facts
from tests.service.actors import new_tenant
from whetstone import AsyncClient
from whetstone.contract.jobs import EventKind, JobEvent, JobState
from whetstone.contract.passes import Simplify
from whetstone.errors import DamagedDownload, Invalid, NotFound, Unauthorized, UploadRejected


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    digits.write(folder)
    return folder


@pytest.fixture
def key(full: Running) -> str:
    return new_tenant(full)


async def test_an_order_from_upload_to_files(full: Running, key: str, folder: Path, tmp_path: Path) -> None:
    sent: list[int] = []
    told: list[JobEvent] = []
    async with AsyncClient(full.url, key) as client:
        model, data = await asyncio.gather(
            client.models.upload(folder / "digits.onnx", on_bytes=sent.append),
            client.datasets.upload(folder / "digits.npz"),
        )
        assert sum(sent) == (folder / "digits.onnx").stat().st_size
        job = await client.jobs.submit(facts.spec(model.id, data.id, Simplify(), measurement={"max_seconds": 1}))
        report = await client.jobs.wait(job.id, told.append)
        assert report.job_id == job.id
        assert told[-1].kind is EventKind.JOB_FINISHED
        assert [event.seq async for event in client.jobs.events(job.id)] == [event.seq for event in told]
        files = await client.jobs.download(job.id, tmp_path / "out")
        assert {file.name for file in files} >= {"onnxruntime-cpu.onnx"}
        assert all(file.stat().st_size for file in files)
        (artifact, *_) = await client.jobs.artifacts(job.id)
        with pytest.raises(DamagedDownload):
            await client.save(f"/v1/artifacts/{artifact.id}/content", tmp_path / "x", sha256="0" * 64)
        assert not (await asyncio.to_thread(lambda: list(tmp_path.glob("x*"))))
        assert (await client.jobs.get(job.id)).state is JobState.SUCCEEDED


async def test_lists_go_over_many_pages_and_many_calls_run_at_once(full: Running, key: str) -> None:
    async with AsyncClient(full.url, key) as client:
        made = await asyncio.gather(*(client.keys.create(f"key {number}") for number in range(105)))
        found = [key.id async for key in client.keys.list()]
        assert {key.id for key in made} <= set(found)
        assert found == sorted(found, reverse=True)


async def test_errors_are_of_the_same_types(full: Running, key: str, folder: Path, tmp_path: Path) -> None:
    async with AsyncClient(full.url, key) as client:
        with pytest.raises(NotFound, match="job_not_found"):
            await client.jobs.get("job_01h455vb4pex5vsknk084sn02q")
        np.savez(tmp_path / "bad.npz", x=np.array([np.nan], np.float32))
        with pytest.raises(UploadRejected, match="NaN"):
            await client.datasets.upload(tmp_path / "bad.npz")
        model = await client.models.upload(folder / "digits.onnx")
        np.savez(tmp_path / "other.npz", x=np.zeros((30, 3), np.float32))
        other = await client.datasets.upload(tmp_path / "other.npz")
        with pytest.raises(Invalid, match="dataset_mismatch"):
            await client.jobs.submit(facts.spec(model.id, other.id, Simplify()))
    async with AsyncClient(full.url, "whet_wrong") as stranger:
        with pytest.raises(Unauthorized):
            await stranger.me()
