"""A worker killed in the middle of a step: the job still succeeds, once, on the second attempt."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.embedded import service as embedded
from app.embedded.service import Running
from examples import digits
from tests.service import facts
from tests.service.actors import new_tenant, query
from tests.service.conftest import QUICK, data_folder
from whetstone.client import Client
from whetstone.contract.jobs import EventKind, JobState, StepKind
from whetstone.contract.learning import Finetune
from whetstone.contract.pruning import Prune


@pytest.fixture
def own() -> Iterator[Running]:
    with data_folder() as folder, embedded.running(folder, "127.0.0.1", 0, **QUICK) as running:
        yield running


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def test_a_worker_killed_in_the_middle_of_a_step(own: Running, tmp_path: Path) -> None:
    digits.write(tmp_path)
    with Client(own.url, new_tenant(own)) as client:
        model = client.models.upload(tmp_path / "digits.onnx")
        data = client.datasets.upload(tmp_path / "digits.npz")
        passes = (Prune(sparsity=0.5), Finetune(epochs=40, batch_size=16))
        job = client.jobs.submit(facts.spec(model.id, data.id, *passes, measurement={"max_seconds": 2}))
        killed = _kill_while_finetuning(own, client, job.id)
        own.processes[-1].start()
        report = client.jobs.wait(job.id)
        done = client.jobs.get(job.id)
    assert done.state is JobState.SUCCEEDED
    optimize = next(step for step in done.steps if step.kind is StepKind.OPTIMIZE)
    assert optimize.attempt == 2
    assert all(step.attempt == 1 for step in done.steps if step.kind is not StepKind.OPTIMIZE)
    assert [step.config.kind for step in report.passes] == ["prune", "finetune"]
    finished = query(
        own, "select count(*) from job_events where job_id = %s and event->>'kind' = %s", job.id, EventKind.JOB_FINISHED
    )
    assert finished == [(1,)]
    assert not [process.pid for process in killed if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def _kill_while_finetuning(service: Running, client: Client, job_id: str) -> list[psutil.Process]:
    """SIGKILL to the worker, without a word to its children; returns all that ran."""
    for event in client.jobs.events(job_id):
        if event.kind is EventKind.STEP_PROGRESS and (event.message or "").startswith("finetune"):
            break
    worker = service.processes[-1]
    assert worker.name == "worker"
    ran = family(worker.pid)
    assert len(ran) >= 4  # Celery, its child, the forkserver, the engine
    os.killpg(worker.pid, signal.SIGKILL)
    while worker.exit_code() is None:
        time.sleep(0.01)
    return ran
