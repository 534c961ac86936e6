"""`make demo`: the whole service on this machine, used as a client would use it, on two real models.

1. The classic case, trained here: an MLP 784-128-10 on images of digits. Pruned by half while it learns, fine-tuned,
   quantized. Wanted: smaller.
2. A model that someone else trained and published in a Python package. Quantized. Wanted: faster.

Data and results are kept under var/demo. Ends by stopping what it started.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from app.embedded import service
from examples import digits, published
from whetstone import show
from whetstone.client import Client
from whetstone.contract.jobs import Budget, JobSpec, Measurement, Objective, Recipe
from whetstone.contract.learning import EarlyStopping, Finetune, Learning
from whetstone.contract.passes import Pass, Simplify
from whetstone.contract.pruning import Polynomial, Prune
from whetstone.contract.quantization import Quantize
from whetstone.contract.reports import JobReport
from whetstone.contract.targets import Target

FOLDER = Path("var/demo")
console = Console()


@dataclass(frozen=True)
class Case:
    """One model with its data, what is done to it, and what is wanted."""

    title: str
    make: Callable[[Path], tuple[Path, Path]]
    passes: tuple[Pass, ...]
    budget: Budget
    targets: tuple[Target, ...]


CASES = (
    Case(
        title="digits",
        make=digits.write,
        passes=(
            Prune(sparsity=0.5, schedule=Polynomial(end_step=100, every=10, learning=Learning(epochs=5))),
            Finetune(epochs=15, early_stopping=EarlyStopping(patience=3)),
            Quantize(),
        ),
        budget=Budget(objective=Objective.SIZE, max_drop=1.0),
        targets=(Target.ONNXRUNTIME_CPU,),
    ),
    Case(
        title="published",
        make=published.write,
        passes=(Simplify(), Quantize()),
        budget=Budget(objective=Objective.LATENCY, max_drop=1.0),
        targets=(Target.ONNXRUNTIME_CPU, Target.OPENVINO_CPU),
    ),
)


def main() -> None:
    began = time.monotonic()
    console.print("Starting Postgres, broker, API, control worker and CPU worker …")
    with service.running(FOLDER / "service", "127.0.0.1", 0) as running:
        console.print(f"Whetstone is running at {running.url}\n")
        with Client(running.url, service.owner_key(running)) as client:
            for case in CASES:
                run(client, case)
    console.print(f"Stopped. All of it took {time.monotonic() - began:.0f} seconds.")


def run(client: Client, case: Case) -> None:
    folder = FOLDER / case.title
    folder.mkdir(parents=True, exist_ok=True)
    model_file, data_file = case.make(folder)
    model = client.models.upload(model_file)
    data = client.datasets.upload(data_file)
    order = JobSpec(
        name=case.title,
        model_id=model.id,
        dataset_id=data.id,
        plan=Recipe(passes=case.passes),
        targets=case.targets,
        budget=case.budget,
        measurement=Measurement(max_seconds=30),
    )
    job = client.jobs.submit(order)
    console.rule(f"[bold]{case.title}[/]: {' → '.join(config.kind for config in case.passes)}")
    with show.job_bars(console) as on_event:
        report = client.jobs.wait(job.id, on_event)
    files = client.jobs.download(job.id, folder / "results")
    tell(report, files)


def tell(report: JobReport, files: tuple[Path, ...]) -> None:
    console.print(show.report_table(report))
    console.print(f"[bold {show.COLOURS[report.verdict.kind]}]{report.verdict.kind}[/]: {report.verdict.reason}")
    for file in files:
        console.print(f"  {file}  ({file.stat().st_size:,} bytes)", highlight=False)
    console.print()


if __name__ == "__main__":
    main()
