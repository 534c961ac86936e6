"""Two or more jobs, put side by side for a reader."""

from collections.abc import Iterator
from typing import Any

from app.jobs.comparing import Unknown, further_loss, slowdown_of
from app.jobs.tables import JobRow
from whetstone.contract.comparisons import Against, ComparedJob, ComparedResult, Comparison, Difference
from whetstone.contract.jobs import JobState
from whetstone.contract.reports import Estimate, JobReport, TargetReport
from whetstone.contract.targets import Target

MEDIAN = 50
_NAMES = {"name", "labels"}


def each_once(job_ids: tuple[str, ...]) -> tuple[str, ...]:
    """Raises ValueError."""
    if len(set(job_ids)) != len(job_ids):
        raise ValueError("each job may be named once")
    return job_ids


def compare(jobs: list[JobRow]) -> Comparison:
    """In the order in which they are given; results are compared with those of the first."""
    return Comparison(
        jobs=tuple(
            ComparedJob(id=job.id, name=job.name, state=JobState(job.state), verdict=job.verdict) for job in jobs
        ),
        results=tuple(_results(jobs)),
        differences=tuple(_differences(jobs)),
    )


def _results(jobs: list[JobRow]) -> Iterator[ComparedResult]:
    first = jobs[0].report
    for target in Target:
        for job in jobs:
            found = _on(job.report, target)
            if found is None:
                continue
            assert job.report is not None  # noqa: S101 - it was found there
            before = None if job is jobs[0] else _on(first, target)
            against = _against(first, job.report, before, found) if first is not None and before is not None else None
            yield _row(job.id, found, against)


def _on(report: JobReport | None, target: Target) -> TargetReport | None:
    return next((each for each in report.targets if each.target is target), None) if report is not None else None


def _row(job_id: str, found: TargetReport, against: Against | None) -> ComparedResult:
    accuracy = found.accuracy and found.accuracy.model_copy(update={"per_class": (), "flips": None})
    return ComparedResult(
        target=found.target,
        job_id=job_id,
        verdict=found.verdict,
        size=found.result.size,
        size_ratio=found.size_ratio,
        median=found.result.latency.at(MEDIAN),
        speedup=found.speedup,
        accuracy=accuracy,
        fidelity=found.fidelity,
        against_first=against,
    )


def _against(first: JobReport, report: JobReport, before: TargetReport, found: TargetReport) -> Against:
    told: dict[str, Estimate | None] = {}
    unknown: dict[str, str] = {}
    for name, differ in (("drop", further_loss), ("slowdown", slowdown_of)):
        try:
            told[name] = differ(first, report, before, found)
        except Unknown as why:
            told[name], unknown[name] = None, str(why)
    growth = found.result.size / before.result.size
    return Against(drop=told["drop"], slowdown=told["slowdown"], growth=growth, unknown=unknown)


def _differences(jobs: list[JobRow]) -> Iterator[Difference]:
    """Of every field of the orders, and of the passes that were run."""
    flat = {job.id: dict(_leaves("", _told(job))) for job in jobs}
    for field in dict.fromkeys(field for fields in flat.values() for field in fields):
        values = {job_id: fields.get(field) for job_id, fields in flat.items()}
        if any(value != values[jobs[0].id] for value in values.values()):
            yield Difference(field=field, values=values)


def _told(job: JobRow) -> dict[str, Any]:
    """A model or dataset that was uploaded again is the same, by its hash."""
    order = job.spec.model_dump(mode="json", exclude=_NAMES)
    if job.report is None:
        return order
    hashes = {"model_sha256": job.report.model_sha256, "dataset_sha256": job.report.dataset_sha256}
    return order | hashes | {"done": [each.config.model_dump(mode="json") for each in job.report.passes]}


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not inner:
        yield path, value
    for name, each in inner:
        yield from _leaves(f"{path}/{name}" if path else str(name), each)
