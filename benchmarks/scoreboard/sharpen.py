"""Whetstone's own entry: a job with a search, ordered from a service of its own as any client would."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.parts.house import fresh_service
from benchmarks.peers.peer import openvino_by_default
from whetstone.contract.jobs import Budget, JobSpec, Measurement
from whetstone.contract.reports import JobReport
from whetstone.contract.search import Limit, Search
from whetstone.contract.targets import Target
from workers.engine.targets.choose import delivered_name

TARGETS = (Target.ONNXRUNTIME_CPU, openvino_by_default())


@dataclass(frozen=True)
class Effort:
    """How long a search and the proof of a result may take, and how many sessions of fresh processes are timed."""

    minutes: float = 5.0
    proof_seconds: float = 20.0
    sessions: int = 6


@dataclass(frozen=True)
class Sharpened:
    """The report, and the file delivered for each target: the original, converted, where nothing was gained."""

    report: JobReport
    files: dict[Target, Path]


def sharpen(model: Path, data: Path, max_drop: float, effort: Effort, folder: Path) -> Sharpened:
    """Nothing is kept from one model to the next. Raises JobFailed, ApiError."""
    with fresh_service() as client:
        order = JobSpec(
            model_id=client.models.upload(model).id,
            dataset_id=client.datasets.upload(data).id,
            plan=Search(limit=Limit(minutes=effort.minutes)),
            targets=TARGETS,
            budget=Budget(max_drop=max_drop),
            measurement=Measurement(max_seconds=effort.proof_seconds),
        )
        job = client.jobs.submit(order)
        report = client.jobs.wait(job.id)
        client.jobs.download(job.id, folder)
    (folder / "report.json").write_text(report.model_dump_json(indent=1))
    delivered = {target: folder / delivered_name(target) for target in TARGETS}
    return Sharpened(report, {target: path for target, path in delivered.items() if path.exists()})
