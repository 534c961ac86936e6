"""Messages to the broker: none is lost, whoever dies or is away when."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from app.embedded import service as embedded
from app.embedded.processes import Process
from app.embedded.service import Running
from tests.service import facts
from tests.service.actors import Guest, new_tenant, query
from tests.service.conftest import QUICK, data_folder
from whetstone.client import Client
from whetstone.contract.jobs import JobRead
from whetstone.contract.targets import HardwareClass


@pytest.fixture
def own() -> Iterator[Running]:
    """A service of its own, whose parts can be killed."""
    quiet = QUICK | {"WHETSTONE_LEASE__RESEND_AFTER": "60"}  # what is sent must have come from the outbox
    with data_folder() as folder, embedded.running(folder, "127.0.0.1", 0, worker=False, **quiet) as running:
        yield running


def part(service: Running, name: str) -> Process:
    return next(process for process in service.processes if process.name == name)


def kill(process: Process) -> None:
    os.kill(process.pid, signal.SIGKILL)
    while process.exit_code() is None:
        time.sleep(0.01)


def restart(service: Running, name: str) -> None:
    part(service, name).start()
    if name == "api":
        for _ in range(200):
            try:
                httpx.get(f"{service.url}/readyz")
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return


def messages(service: Running) -> int:
    path, _, database = service.environment["WHETSTONE_BROKER_URL"].removeprefix("redis+socket://").partition("?")
    assert database == "virtual_host=0"
    with Redis(unix_socket_path=path) as broker:
        return int(broker.llen(HardwareClass.CPU))  # type: ignore[arg-type] # the sync client answers at once


def wait_messages(service: Running, count: int) -> None:
    end = time.monotonic() + 15
    while messages(service) != count:
        assert time.monotonic() < end, f"{messages(service)} messages, not {count}"
        time.sleep(0.05)


def submit(service: Running, tmp_path: Path) -> JobRead:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    with Guest(service) as guest, Client(service.url, new_tenant(service)) as client:
        return client.jobs.submit(facts.spec(guest.model(client, path).id))


def test_the_api_killed_between_commit_and_send(own: Running, tmp_path: Path) -> None:
    kill(part(own, "control"))  # it is what sends: now the commit stands alone
    before = messages(own)
    submit(own, tmp_path)
    kill(part(own, "api"))
    assert messages(own) == before
    waiting = query(own, "select count(*) from outbox")[0][0]
    assert waiting == 2  # the inspection and the job
    restart(own, "api")
    restart(own, "control")
    wait_messages(own, before + waiting)
    assert query(own, "select count(*) from outbox") == [(0,)]


def test_the_broker_away(own: Running, tmp_path: Path) -> None:
    broker = part(own, "valkey")
    broker.stop()
    job = submit(own, tmp_path)
    assert job.steps[0].state == "queued"
    time.sleep(1)
    assert query(own, "select count(*) from outbox")[0][0] == 2  # the inspection and the job
    broker.start()
    wait_messages(own, 2)


def test_the_broker_forgets_everything(bare: Running, tmp_path: Path) -> None:
    """The sweeper wakes workers again for steps that nobody has claimed."""
    submit(bare, tmp_path)
    path = bare.environment["WHETSTONE_BROKER_URL"].removeprefix("redis+socket://").partition("?")[0]
    with Redis(unix_socket_path=path) as broker:
        broker.flushall()
        end = time.monotonic() + 15
        while not broker.llen(HardwareClass.CPU):
            assert time.monotonic() < end
            time.sleep(0.1)
