"""The job's report, put together from what its steps found."""

from datetime import UTC, datetime

from app.fleet.tables import StepRow
from app.jobs.tables import JobRow
from whetstone.contract.jobs import StepState
from whetstone.contract.reports import FailedTarget, JobReport, PassReport, TargetReport, Verdict, VerdictKind
from whetstone.contract.steps import Delivered


def assemble(job: JobRow, passes: tuple[PassReport, ...], delivers: list[StepRow]) -> JobReport:
    """One report of all targets, those that failed included. At least one must have been delivered."""
    targets = tuple(step.result.report for step in delivers if isinstance(step.result, Delivered))
    failed = tuple(
        FailedTarget(target=step.task.target, failure=step.failure)
        for step in delivers
        if step.state == StepState.FAILED and step.failure is not None
    )
    return JobReport(
        job_id=job.id,
        job_name=job.name,
        model_id=job.model_id,
        model_name=job.model.name,
        model_sha256=job.model.file.sha256,
        dataset_id=job.dataset_id,
        dataset_name=job.dataset.name if job.dataset else None,
        dataset_sha256=job.dataset.file.sha256 if job.dataset else None,
        verdict=overall(targets),
        passes=passes,
        targets=targets,
        failed_targets=failed,
        created_at=datetime.now(UTC),
    )


def overall(targets: tuple[TargetReport, ...]) -> Verdict:
    """The best of the targets' verdicts speaks for the job: improved, else over budget, else no gain."""
    rank = (VerdictKind.IMPROVED, VerdictKind.OVER_BUDGET, VerdictKind.NO_GAIN)
    best = min(targets, key=lambda report: (rank.index(report.verdict.kind), -report.speedup.value))
    return Verdict(kind=best.verdict.kind, reason=f"{best.target}: {best.verdict.reason}")
