"""The job's report, put together from what its steps found."""

from datetime import UTC, datetime

from app.fleet.tables import StepRow
from app.jobs.tables import JobRow
from whetstone.contract.jobs import StepState
from whetstone.contract.passes import Pass
from whetstone.contract.presets import Preset
from whetstone.contract.reports import (
    BuiltReport,
    Candidate,
    FailedTarget,
    JobReport,
    PassReport,
    TargetReport,
    Verdict,
    VerdictKind,
)
from whetstone.contract.steps import Contender, Delivered, Optimized, Searched, Winner
from whetstone.contract.targets import Target
from whetstone.contract.tuning import Study


def assemble(
    job: JobRow, found: Optimized | Searched, delivers: list[StepRow], study: Study | None, preset: Preset
) -> JobReport:
    """One report of all targets, those that failed included. At least one must have been delivered."""
    reports = [step.result.report for step in delivers if isinstance(step.result, Delivered)]
    targets = tuple(report for report in reports if isinstance(report, TargetReport))
    built = tuple(report for report in reports if isinstance(report, BuiltReport))
    failed = tuple(
        FailedTarget(target=step.task.target, failure=step.failure)
        for step in delivers
        if step.state == StepState.FAILED and step.failure is not None
    )
    spokesman = _best(targets) if targets else _best_built(built)
    return JobReport(
        job_id=job.id,
        job_name=job.name,
        model_id=job.model_id,
        model_name=job.model.name,
        model_sha256=job.model.file.sha256,
        dataset_id=job.dataset_id,
        dataset_name=job.dataset.name if job.dataset else None,
        dataset_sha256=job.dataset.file.sha256 if job.dataset else None,
        verdict=_verdict(spokesman, found),
        preset=preset,
        passes=passes_for(found, spokesman),
        targets=targets,
        built=built,
        failed_targets=failed,
        candidates=_candidates(found, targets) if isinstance(found, Searched) else (),
        search=found.summary if isinstance(found, Searched) else None,
        study=study,
        created_at=datetime.now(UTC),
    )


def _best(targets: tuple[TargetReport, ...]) -> TargetReport:
    """The target that speaks for the job: improved, else over budget, else no gain; of several the quickest."""
    rank = (VerdictKind.IMPROVED, VerdictKind.OVER_BUDGET, VerdictKind.NO_GAIN)
    return min(targets, key=lambda report: (rank.index(report.verdict.kind), -report.speedup.value))


def _best_built(built: tuple[BuiltReport, ...]) -> BuiltReport:
    """Only where nothing was run: what was measured says more."""
    rank = (VerdictKind.BUILT, VerdictKind.OVER_BUDGET, VerdictKind.NO_GAIN)
    return min(built, key=lambda report: rank.index(report.verdict.kind))


def _verdict(report: TargetReport | BuiltReport, found: Optimized | Searched) -> Verdict:
    """Over budget after a search, with what came nearest to keeping every limit."""
    reason = f"{report.target}: {report.verdict.reason}"
    if isinstance(found, Searched) and report.verdict.kind is VerdictKind.OVER_BUDGET:
        reason = " ".join((reason, *(miss for miss in found.summary.misses if f"On {report.target} " in miss)))
    return Verdict(kind=report.verdict.kind, reason=reason)


def passes_for(found: Optimized | Searched, report: TargetReport | BuiltReport) -> tuple[PassReport, ...]:
    """What was done to the model; after a search, what was done for this target."""
    return found.passes if isinstance(found, Optimized) else taken(found, report).passes


def winner_of(found: Searched, target: Target) -> Winner:
    return next(winner for winner in found.winners if winner.target is target)


def taken(found: Searched, report: TargetReport | BuiltReport) -> Contender:
    """The one that the report is about: the first choice, unless that gained nothing and the runner-up did."""
    winner = winner_of(found, report.target)
    second = isinstance(report, TargetReport) and report.first_choice is not None
    return winner.runner_up if second and winner.runner_up else winner


def _candidates(found: Searched, reports: tuple[TargetReport, ...]) -> tuple[Candidate, ...]:
    """As the search told them; where a runner-up was taken, that one is the chosen one."""
    changed = {report.target: report for report in reports if report.first_choice}
    return tuple(
        _retold(each, changed[each.target], taken(found, changed[each.target])) if each.target in changed else each
        for each in found.candidates
    )


def _retold(candidate: Candidate, report: TargetReport, taken: Contender) -> Candidate:
    if candidate.chosen:
        return candidate.model_copy(update={"chosen": False, "because": f"First choice, but {report.first_choice}"})
    is_taken = candidate.recipe == tuple(done.config for done in taken.passes)
    if is_taken and candidate.settings == taken.settings:
        why = f"Taken, since the first choice gained nothing in full. {candidate.because}"
        return candidate.model_copy(update={"chosen": True, "because": why})
    return candidate


def recipe_of(found: Optimized | Searched, report: TargetReport | BuiltReport) -> tuple[Pass, ...]:
    """The passes that made the result of a target, without what came of them."""
    return tuple(done.config for done in passes_for(found, report))
