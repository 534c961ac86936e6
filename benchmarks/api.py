"""What a request costs, and how fast files come in.

CPU time of the API process and of Postgres for an authenticated `GET /v1/jobs` (20 jobs and their steps), beside a
FastAPI route in the same process that does nothing; again with many more rows. Then an upload on a file system in
memory, hashed on the way, beside nginx's WebDAV PUT (Debian's nginx-light, if it is installed).

    python -m benchmarks.api [--quick]
"""

import argparse
import hashlib
import http.client
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from rich.console import Console
from rich.table import Table

from app.core.database import plain_url
from app.embedded import service
from app.embedded.processes import Process
from app.embedded.service import Running
from benchmarks.parts import hello
from examples import digits
from whetstone.client import Client
from whetstone.contract.jobs import JobSpec, Measurement, Recipe
from whetstone.contract.passes import Simplify

MEMORY = Path("/dev/shm")  # noqa: S108 - a file system in memory, with folders of our own in it
MIB = 2**20
PAGE = 20
FEW, WARMUP = 10_000, 200
COPY = """
    insert into jobs (id, tenant_id, name, model_id, dataset_id, spec, state, events, verdict, created_at, finished_at)
    select 'job_' || lpad(to_hex(n), 26, '0'), tenant_id, name, model_id, dataset_id, spec, 'cancelled', 0, verdict,
           created_at, created_at
    from jobs, generate_series(%(first)s::bigint, %(last)s::bigint) n where id = %(like)s
"""


@dataclass(frozen=True)
class Cost:
    """Microseconds of CPU per request, and of the wall."""

    api: float
    postgres: float
    wall: float


@dataclass(frozen=True)
class Effort:
    requests: int
    rows: int
    upload: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer requests, 200,000 rows, 256 MiB")
    quick = parser.parse_args().quick
    effort = Effort(1000, 200_000, 256 * MIB) if quick else Effort(5000, 10_000_000, 1024 * MIB)
    with (
        tempfile.TemporaryDirectory(prefix="whetstone-") as disk,  # ten million rows would not fit into memory
        tempfile.TemporaryDirectory(prefix="whetstone-", dir=MEMORY) as name,
    ):
        home, var = Path(name), Path(disk)
        for folder in (home, var):
            folder.chmod(0o755)  # Postgres and nginx may run as other users
        with serving(var, home) as (running, port, process):
            costs = measured(running, port, process, effort)
            speed, growth = uploaded(running, port, process, effort.upload, home)
        beside = through_nginx(effort.upload, home)
    show(costs, speed, beside)
    ratio = costs["hello"].api / costs[f"{FEW:,} rows"].api
    grown = _sum(costs[f"{effort.rows:,} rows"]) / _sum(costs[f"{FEW:,} rows"])
    print(
        f"RESULT hello_ratio={ratio:.3f} postgres_us={costs[f'{FEW:,} rows'].postgres:.0f} growth={grown:.2f} "
        f"upload_mib_s={speed:.0f} upload_over_nginx={speed / beside if beside else float('nan'):.2f} "
        f"upload_rss_mb={growth:.0f}"
    )


def _sum(cost: Cost) -> float:
    return cost.api + cost.postgres


@contextmanager
def serving(var: Path, home: Path) -> Iterator[tuple[Running, int, psutil.Process]]:
    """A service that keeps files under `home` and all else under `var`, and a second API process of it that also says
    hello, with its port.
    """
    settings = {"WHETSTONE_RATES__REQUESTS": str(10**9), "WHETSTONE_STORAGE_URL": f"file://{home / 'files'}"}
    with service.running(var / "var", "127.0.0.1", 0, **settings) as running:
        port = _free_port()
        command = [sys.executable, "-m", "benchmarks.parts.hello", str(port)]
        extra = Process("hello", command, running.environment, home / "hello.log")
        extra.start()
        try:
            _wait(port)
            yield running, port, psutil.Process(extra.pid)
        finally:
            extra.stop()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _wait(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit("A server did not start.")


def measured(running: Running, port: int, process: psutil.Process, effort: Effort) -> dict[str, Cost]:
    key = service.owner_key(running)
    with Client(running.url, key) as client:
        job = _jobs(client)
    database = psycopg.connect(plain_url(running.owner_url), autocommit=True)
    postmaster = psutil.Process(psutil.Process(database.info.backend_pid).ppid())
    costs = {"hello": cost(port, hello.PATH, key, process, postmaster, effort.requests)}
    rows = 0
    for wanted in (FEW, effort.rows):
        database.execute(COPY, {"first": rows, "last": wanted - 1, "like": job})
        database.execute("analyze jobs")
        rows = wanted
        costs[f"{wanted:,} rows"] = cost(port, f"/v1/jobs?limit={PAGE}", key, process, postmaster, effort.requests)
    database.close()
    return costs


def _jobs(client: Client) -> str:
    """A page of real jobs that are done; the id of one."""
    with tempfile.TemporaryDirectory() as folder:
        path = digits.write(Path(folder))[0]
        model = client.models.upload(path)
    plan, how = Recipe(passes=(Simplify(),)), Measurement(max_seconds=1)
    jobs = [client.jobs.submit(JobSpec(model_id=model.id, plan=plan, measurement=how)) for _ in range(PAGE)]
    for job in jobs[1:]:
        client.jobs.cancel(job.id)
    client.jobs.wait(jobs[0].id)
    return jobs[0].id


def cost(port: int, path: str, key: str, process: psutil.Process, postmaster: psutil.Process, requests: int) -> Cost:
    """Of one request, one after the other on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Authorization": f"Bearer {key}"}

    def ask(times: int) -> None:
        for _ in range(times):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.client.OK:
                sys.exit(f"{path} answered {answer.status}.")

    ask(WARMUP)
    before, began = (_cpu(process), _with_backends(postmaster)), time.perf_counter()
    ask(requests)
    wall = time.perf_counter() - began
    after = _cpu(process), _with_backends(postmaster)
    connection.close()
    api, postgres = (1e6 * (late - early) / requests for late, early in zip(after, before, strict=True))
    return Cost(api, postgres, 1e6 * wall / requests)


def _cpu(process: psutil.Process) -> float:
    """Seconds so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _with_backends(postmaster: psutil.Process) -> float:
    """Seconds so far of one server alone: another on this machine is none of our business."""
    ended = postmaster.cpu_times()
    total = _cpu(postmaster) + ended.children_user + ended.children_system
    for backend in postmaster.children():
        with suppress(psutil.NoSuchProcess):
            total += _cpu(backend)
    return total


def uploaded(running: Running, port: int, process: psutil.Process, size: int, home: Path) -> tuple[float, float]:
    """MiB a second of one upload, and by how many MB the API process grew."""
    file = _file(home, size)
    before = process.memory_info().rss
    url = f"http://127.0.0.1:{port}/v1/datasets?filename=large.npz"
    headers = [
        "-H",
        f"Authorization: Bearer {service.owner_key(running)}",
        "-H",
        "Content-Type: application/octet-stream",
    ]
    began = time.perf_counter()
    grown = _watched(["curl", "-sSf", "-o", "/dev/null", *headers, "-X", "POST", "-T", str(file), url], process)
    return size / MIB / (time.perf_counter() - began), (grown - before) / 1e6


def _file(home: Path, size: int) -> Path:
    file, block = home / "large.npz", hashlib.sha256(b"a block").digest() * (MIB // 32)
    with file.open("wb") as out:
        for _ in range(size // MIB):
            out.write(block)
    return file


def _watched(command: list[str], process: psutil.Process) -> int:
    """Run it; the largest resident size of the process meanwhile."""
    largest = 0
    with subprocess.Popen(command) as child:
        while child.poll() is None:
            largest = max(largest, process.memory_info().rss)
            time.sleep(0.02)
    if child.returncode:
        sys.exit(f"{command[0]} ended with {child.returncode}.")
    return largest


def through_nginx(size: int, home: Path) -> float | None:
    """MiB a second of the same file, put; None where there is no nginx."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        print("  no nginx here (Debian's nginx-light): nothing to compare uploads with")
        return None
    port, folder = _free_port(), home / "nginx"
    (folder / "temporary").mkdir(parents=True)
    (folder / "root").mkdir()
    for path in (folder, *folder.iterdir()):
        path.chmod(0o777)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}} http {{ access_log off; "
        f"client_body_temp_path {folder}/temporary; server {{ listen 127.0.0.1:{port}; root {folder}/root; "
        "client_max_body_size 0; location / { dav_methods PUT; create_full_put_path on; } } }"
    )
    server = Process("nginx", [nginx, "-c", str(folder / "nginx.conf")])
    server.start()
    try:
        _wait(port)
        file = _file(home, size)
        began = time.perf_counter()
        put = ["curl", "-sSf", "-o", "/dev/null", "-T", str(file), f"http://127.0.0.1:{port}/large"]
        subprocess.run(put, check=True)
        return size / MIB / (time.perf_counter() - began)
    finally:
        server.stop()


def show(costs: dict[str, Cost], speed: float, beside: float | None) -> None:
    table = Table("", "API, µs of CPU", "Postgres, µs of CPU", "wall, µs")
    for name, each in costs.items():
        table.add_row(name, f"{each.api:.0f}", f"{each.postgres:.0f}", f"{each.wall:.0f}")
    console = Console()
    console.print(table)
    console.print(f"upload {speed:.0f} MiB/s" + (f", nginx {beside:.0f} MiB/s" if beside else ""))


if __name__ == "__main__":
    main()
