"""What the command line and the demo print: progress while a job runs, and the table at its end."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from whetstone.contract.estimates import Basis, JobEstimate
from whetstone.contract.jobs import EventKind, JobEvent, StepKind
from whetstone.contract.presets import Domain
from whetstone.contract.reports import (
    Accuracy,
    BuiltReport,
    Estimate,
    Fidelity,
    JobReport,
    Latency,
    TargetReport,
    VerdictKind,
)
from whetstone.contract.tuning import Study
from whetstone.following import OnEvent
from whetstone.transport import OnBytes

COLOURS = {
    VerdictKind.IMPROVED: "green",
    VerdictKind.NO_GAIN: "yellow",
    VerdictKind.OVER_BUDGET: "magenta",
    VerdictKind.BUILT: "cyan",
}
MEGABYTE = 1_000_000


@contextmanager
def upload_bar(console: Console, path: Path) -> Iterator[OnBytes]:
    """A bar that counts the bytes of one file."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"upload {path.name}", total=path.stat().st_size)
        yield lambda count: progress.advance(task, count)


@contextmanager
def job_bars(console: Console) -> Iterator[OnEvent]:
    """One bar a step, with what it is doing right now; a trial that has ended leaves a line."""
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}", style="dim"),
    )
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=console) as progress:

        def on_event(event: JobEvent) -> None:
            if event.step_id is None or event.step_kind is None:
                return
            if event.step_kind is StepKind.TRIAL and event.kind is EventKind.STEP_LOG:
                progress.console.print(event.message, style="dim", highlight=False, markup=False)
                return
            if event.step_id not in bars:
                title = f"{event.step_kind} {event.target or ''}".strip()
                bars[event.step_id] = progress.add_task(title, total=1.0, doing="queued", start=False)
            _move(progress, bars[event.step_id], event)
            if event.step_kind is StepKind.TRIAL and event.kind is EventKind.STEP_FINISHED:
                progress.remove_task(bars.pop(event.step_id))

        yield on_event


def _move(progress: Progress, bar: TaskID, event: JobEvent) -> None:
    match event.kind:
        case EventKind.STEP_STARTED:
            progress.start_task(bar)
            progress.update(bar, doing="" if event.attempt == 1 else f"attempt {event.attempt}")
        case EventKind.STEP_PROGRESS:
            progress.update(bar, completed=event.progress or 0.0, doing=event.message or "")
        case EventKind.STEP_RETRIED:
            progress.update(bar, doing="lost its worker, queued again")
        case EventKind.STEP_FINISHED:
            progress.update(bar, completed=1.0 if event.failure is None else 0.0, doing=str(event.step_state or ""))
            progress.stop_task(bar)
        case _:
            pass


def report_table(report: JobReport) -> Table:
    """Original against result, a block per target."""
    domain = "" if report.preset.domain is Domain.GENERAL else f" ({report.preset.domain})"
    table = Table(title=f"{report.job_name}{domain}", title_justify="left")
    for title in ("target", "", "original", "result", "change"):
        table.add_column(title, justify="left" if title in ("target", "") else "right")
    told = [(each.target, each.verdict, _rows(each)) for each in report.targets]
    told += [(each.target, each.verdict, _built_rows(each)) for each in report.built]
    for target, verdict, rows in told:
        for index, row in enumerate(rows):
            table.add_row(target.value if index == 0 else "", *row)
        table.add_row("", "verdict", "", "", f"[bold {COLOURS[verdict.kind]}]{verdict.kind}[/]", end_section=True)
    for failed in report.failed_targets:
        table.add_row(failed.target.value, "failed", "", "", f"[red]{failed.failure.code}[/]", end_section=True)
    return table


def study_line(study: Study) -> str:
    """Which trial was taken, with which values, and what it came to."""
    taken = next(trial for trial in study.trials if trial.number == study.chosen)
    values = ", ".join(f"{address} {_plain(value)}" for address, value in (taken.parameters or {}).items())
    seen = ", ".join(f"{of} {value:.4g}" for of, value in zip(study.tune.objectives, taken.values or (), strict=False))
    return f"trial {taken.number} of {len(study.trials)} was taken: {values} → {seen}"


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def estimate_table(estimate: JobEstimate) -> Table:
    """A row per step, then what no target can do."""
    price = f", {estimate.price.amount:.2g} {estimate.price.currency}" if estimate.price else ""
    table = Table(title="about " + _duration(estimate.seconds) + price, title_justify="left")
    for title in ("step", "target", "time", "memory", "from"):
        table.add_column(title, justify="right" if title in {"time", "memory"} else "left")
    for step in estimate.steps:
        basis = f"{step.learned_from} earlier steps" if step.basis is Basis.HISTORY else "a rule"
        table.add_row(step.kind, step.target or "", _duration(step.seconds), _size(step.memory), basis)
    for target in estimate.targets:
        if not target.feasible:
            table.add_row("[red]not feasible[/]", target.target, "", "", target.because or "")
        elif not target.available:
            table.add_row("[yellow]no worker[/]", target.target, "", "", "no worker offers it now")
    return table


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _rows(report: TargetReport) -> Iterator[tuple[str, str, str, str]]:
    before, after = report.original, report.result
    yield "size", _size(before.size), _size(after.size), f"{report.size_ratio:.2f}× smaller"
    for percent in (50, 99):
        yield f"p{percent}", _latency(before.latency, percent), _latency(after.latency, percent), ""
    yield "speed", "", "", _interval(report.speedup, "×")
    yield from _quality_rows(report.accuracy, report.fidelity)


def _built_rows(report: BuiltReport) -> Iterator[tuple[str, str, str, str]]:
    """What is known without the device; accuracy is that of the graph, on the CPU."""
    yield "engine", "", _size(report.size), f"built in {report.build_seconds:.1f} s, not run"
    yield "its graph", "", _size(report.graph_size), "seen in onnxruntime/cpu:"
    yield from _quality_rows(report.accuracy, report.fidelity)


def _quality_rows(accuracy: Accuracy | None, fidelity: Fidelity) -> Iterator[tuple[str, str, str, str]]:
    if accuracy is not None:
        unit, scale = ("%", 100.0) if accuracy.metric.in_points else ("", 1.0)
        drop = _interval(accuracy.drop, " pt" if unit else " %")
        original, result = (f"{value * scale:.2f}{unit}" for value in (accuracy.original, accuracy.result))
        yield str(accuracy.metric), original, result, ""
        yield "lost", "", "", drop
    if fidelity.agreement is not None:
        yield "agreement", "", "", _interval(fidelity.agreement, " %")


def _size(count: int) -> str:
    return f"{count / MEGABYTE:.3f} MB"


def _latency(latency: Latency, percent: float) -> str:
    found = latency.at(percent)
    if found is None:
        return f"needs {latency.unclaimed.get(f'{percent:g}', 0)} runs"
    return f"{found.ms:.3f} ms"


def _interval(estimate: Estimate, unit: str) -> str:
    return f"{estimate.value:.2f}{unit} [{estimate.low:.2f}, {estimate.high:.2f}]"
