"""What the service adds to the engine's work.

Runs the published model's job through the whole service, and the same engine calls directly in this process, in
turns. Prints how long a step waits before it starts, what a step costs besides its work (with the warm forkserver,
and with a Python started anew), and the ratio of the two ways.

    python -m benchmarks.overhead [--quick]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app.embedded import service
from examples import published
from whetstone.client import Client
from whetstone.contract.jobs import JobRead, JobSpec, Measurement, Recipe
from whetstone.contract.passes import Simplify
from whetstone.contract.quantization import Quantize
from whetstone.contract.reports import JobReport
from whetstone.contract.steps import Deliver, Delivered, InputRole, InspectModel, MakeReport, Optimize, Task
from whetstone.contract.targets import Target
from workers.engine.request import Done, Request
from workers.engine.run import run

PASSES = (Simplify(), Quantize())
TARGET = Target.ONNXRUNTIME_CPU
COLD_STARTS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, shorter measurement")
    quick = parser.parse_args().quick
    rounds, measurement = (1, Measurement(max_seconds=8)) if quick else (3, Measurement(max_seconds=30))
    with tempfile.TemporaryDirectory(prefix="whetstone-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postgres may run as another user
        files = published.write(folder)
        with (
            service.running(folder / "var", "127.0.0.1", 0) as running,
            Client(running.url, service.owner_key(running)) as client,
        ):
            report(*compare(client, files, rounds, measurement, folder), cold=cold_start(folder, files[0]))


def compare(
    client: Client, files: tuple[Path, Path], rounds: int, measurement: Measurement, folder: Path
) -> tuple[list[JobRead], list[float]]:
    model, data = client.models.upload(files[0]), client.datasets.upload(files[1])
    order = JobSpec(
        model_id=model.id,
        dataset_id=data.id,
        plan=Recipe(passes=PASSES),
        targets=(TARGET,),
        measurement=measurement,
    )
    jobs, direct = [], []
    for _ in range(rounds):
        job = client.jobs.submit(order)
        found = client.jobs.wait(job.id)
        jobs.append(client.jobs.get(job.id))
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            direct.append(work_directly(files, order, found, Path(scratch)))
    return jobs, direct


def work_directly(files: tuple[Path, Path], order: JobSpec, found: JobReport, folder: Path) -> float:
    """Seconds of the same three engine calls, one after the other in this process."""
    inputs = {InputRole.MODEL: files[0], InputRole.DATASET: files[1]}
    began = time.perf_counter()
    call(Optimize(passes=PASSES), inputs, folder / "optimize")
    inputs[InputRole.RESULT] = folder / "optimize" / "outputs" / "model.onnx"
    deliver = Deliver(target=TARGET, budget=order.budget, measurement=order.measurement)
    done = call(deliver, inputs, folder / "deliver")
    assert isinstance(done.result, Delivered)  # noqa: S101 - what a deliver step gives
    call(MakeReport(report=found.model_copy(update={"targets": (done.result.report,)})), {}, folder / "report")
    return time.perf_counter() - began


def call(task: Task, inputs: dict[InputRole, Path], folder: Path) -> Done:
    (folder / "outputs").mkdir(parents=True)
    request = Request(task=task, inputs=inputs, outputs=folder / "outputs", scratch=folder)
    return run(request, lambda message: None)  # noqa: ARG005 - nobody listens


def cold_start(folder: Path, model: Path) -> float:
    """Seconds that one inspection takes with a Python started for it alone (median)."""
    outputs = folder / "cold"
    outputs.mkdir()
    request = Request(
        task=InspectModel(), inputs={InputRole.MODEL: model}, outputs=outputs, scratch=folder
    ).model_dump_json()
    code = (
        "import sys; from workers.engine.request import Request; from workers.engine.run import run;"
        "run(Request.model_validate_json(sys.argv[1]), lambda m: None)"
    )
    times = []
    for _ in range(COLD_STARTS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, request], check=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def report(jobs: list[JobRead], direct: list[float], cold: float) -> None:
    through = [seconds(job.created_at, job.finished_at) for job in jobs]
    starts = [1000 * seconds(job.created_at, job.steps[0].started_at) for job in jobs]
    gaps = [1000 * seconds(step.queued_at, step.started_at) for job in jobs for step in job.steps]
    draws = [seconds(step.started_at, step.finished_at) for job in jobs for step in job.steps if step.kind == "report"]
    table = Table(title="What the service adds", title_justify="left")
    for title in ("", "median", "all"):
        table.add_column(title)
    rows = {
        "job through the service, s": through,
        "same engine work directly, s": direct,
        "submit until the first step starts, ms": starts,
        "queued until started, every step, ms": gaps,
        "the report step from claim to finish, s": draws,
        "a step in a Python started anew, s": [cold],
    }
    for name, values in rows.items():
        table.add_row(name, f"{statistics.median(values):.3f}", " ".join(f"{value:.3f}" for value in values))
    Console().print(table)
    ratio = statistics.median(through) / statistics.median(direct)
    print(f"RESULT ratio={ratio:.3f} start_ms={statistics.median(starts):.1f} cold_start_s={cold:.2f}")


def seconds(start: datetime, end: datetime | None) -> float:
    return float("nan") if end is None else (end - start).total_seconds()


if __name__ == "__main__":
    main()
