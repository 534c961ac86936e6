"""The whole service on one machine: Postgres, Valkey, API, control worker, CPU worker, each a real process.

The parts are the same as in a cluster and talk the same way; only who starts them differs.
"""

import asyncio
import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.core import migrations
from app.core.database import create_engine, sessions
from app.core.scope import any_tenant
from app.embedded import postgres, valkey
from app.embedded.processes import Process
from app.embedded.secrets import Secrets, load_or_make, write_private
from app.tenants.service import Owner, bootstrap

START_SECONDS = 60.0
WATCH_SECONDS = 0.5
RESTART_PAUSE = 1.0


@dataclass(frozen=True)
class Running:
    """A service that is up."""

    url: str
    owner: Owner | None
    owner_file: Path
    processes: tuple[Process, ...]
    environment: dict[str, str]
    owner_url: str  # the database as its owner, which no part of the service but the migrations uses


class PortTaken(OSError):
    """The port is already in use."""


class AlreadyRunning(OSError):
    """Another service is running on this data folder."""


class PartFailed(RuntimeError):
    """A part of the service did not start."""


@contextmanager
def running(var: Path, host: str, port: int, worker: bool = True, **settings: str) -> Iterator[Running]:  # noqa: FBT001, FBT002 - read at the call as worker=False
    """Start everything, data under `var`; stop everything at the end."""
    var = var.resolve()
    var.mkdir(parents=True, exist_ok=True)
    port = port or _free_port(host)
    _check_free(host, port)
    with ExitStack() as stack:
        stack.enter_context(_alone(var))
        owner_url = stack.enter_context(postgres.running(var / "postgres"))
        migrations.upgrade(owner_url)
        database_url = postgres.as_application(owner_url)
        broker, broker_url = valkey.start(var / "valkey")
        stack.callback(broker.stop)
        secrets = load_or_make(var / "secrets.json")
        url = f"http://{host}:{port}"
        environment = _environment(var, secrets, url, database_url, broker_url) | settings
        owner = _bootstrap(database_url, var / "owner.txt", url)
        processes = _parts(environment, var / "logs", host, port, worker=worker)
        for process in processes:
            process.start()
            stack.callback(process.stop)
        _wait_ready(url, processes)
        yield Running(url, owner, var / "owner.txt", (broker, *processes), environment, owner_url)


@contextmanager
def _alone(var: Path) -> Iterator[None]:
    with (var / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AlreadyRunning(f"Another service is running on {var}; choose another folder with --var.") from error
        yield


def _environment(var: Path, secrets: Secrets, url: str, database_url: str, broker_url: str) -> dict[str, str]:
    return {
        **os.environ,
        "WHETSTONE_DATABASE_URL": database_url,
        "WHETSTONE_BROKER_URL": broker_url,
        "WHETSTONE_STORAGE_URL": f"file://{var / 'files'}",
        "WHETSTONE_SECRET_KEY": secrets.secret_key,
        "WHETSTONE_FLEET_TOKEN": secrets.fleet_token,
        "WHETSTONE_PUBLIC_URL": url,
        "WHETSTONE_MAIL__FOLDER": str(var / "mail"),
        "WHETSTONE_WORKER_CONTROL_PLANE_URL": url,
        "WHETSTONE_WORKER_FLEET_TOKEN": secrets.fleet_token,
        "WHETSTONE_WORKER_BROKER_URL": broker_url,
        "WHETSTONE_WORKER_SCRATCH": str(var / "scratch"),
    }


def _parts(environment: dict[str, str], logs: Path, host: str, port: int, *, worker: bool) -> list[Process]:
    logs.mkdir(exist_ok=True)
    # A worker is an untrusted guest: it gets no database, storage or signing secret.
    kept, secret = ("WHETSTONE_WORKER_",), ("WHETSTONE_", "AWS_")
    limited = {
        name: value for name, value in environment.items() if not name.startswith(secret) or name.startswith(kept)
    }
    python = [sys.executable, "-m"]
    parts = [
        Process("api", [*python, "app", "api", "--host", host, "--port", str(port)], environment, logs / "api.log"),
        Process("control", [*python, "app", "control"], environment, logs / "control.log"),
    ]
    if worker:
        parts.append(Process("worker", [*python, "workers"], limited, logs / "worker.log"))
    return parts


def _bootstrap(database_url: str, owner_file: Path, url: str) -> Owner | None:
    async def make() -> Owner | None:
        engine = create_engine(database_url, 1)
        with any_tenant():
            async with sessions(engine).begin() as session:
                owner = await bootstrap(session)
        await engine.dispose()
        return owner

    owner = asyncio.run(make())
    if owner is not None:
        lines = (
            f"url      {url}",
            f"email    {owner.email}",
            f"password {owner.password}",
            f"api_key  {owner.api_key}",
        )
        write_private(owner_file, "\n".join(lines) + "\n")
    return owner


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _check_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(f"Port {port} is already in use; choose another with --port.") from error


def _wait_ready(url: str, processes: list[Process]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        dead = next((process for process in processes if process.exit_code() is not None), None)
        if dead is not None:
            raise PartFailed(f"The {dead.name} ended with code {dead.exit_code()}; see its log under var/logs.")
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise PartFailed(f"The API did not answer within {START_SECONDS} seconds; see var/logs/api.log.")


def owner_key(service: Running) -> str:
    """The first owner's API key, from the file that the first start wrote."""
    fields = dict(line.split(maxsplit=1) for line in service.owner_file.read_text().splitlines())
    return fields["api_key"]


def watch(service: Running) -> None:
    """Until SIGINT or SIGTERM: start again whatever part ended."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(WATCH_SECONDS):
        for process in service.processes:
            if process.exit_code() is not None:
                sys.stderr.write(f"{process.name} ended with code {process.exit_code()}; starting it again\n")
                stop.wait(RESTART_PAUSE)
                process.start()
