"""The report of a job as one HTML page that needs nothing else, as Markdown, and as JSON."""

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.reports import Candidate, Curve, JobReport, PassReport, TargetReport
from whetstone.contract.steps import InputRole, MakeReport, ReportMade
from workers.engine.bundle.assemble import assemble
from workers.engine.report import charts, wording
from workers.engine.report.studies import study_charts
from workers.engine.request import Done, MadeFile, Message, Progress, Request

TEMPLATES = Path(__file__).parent / "templates"

FILTERS: dict[str, Callable[..., str]] = {
    "change": wording.change,
    "fate": wording.fate,
    "count": wording.count_of,
    "fidelity": wording.layer_fidelity,
    "quiet": wording.quiet,
    "interval": wording.interval,
    "ms": wording.milliseconds,
    "number": wording.number,
    "percent": wording.percent,
    "recipe": wording.recipe,
    "scenario": wording.scenario_name,
    "under_load": wording.under_load,
    "at": wording.percentile_of,
    "searched": wording.searched,
    "preset": wording.preset,
    "settings": wording.settings,
    "shapes": wording.shapes,
    "seconds": wording.seconds,
    "signed": wording.signed,
    "size": wording.size,
    "smaller": wording.smaller,
    "times": wording.times,
    "tuned": wording.tuned,
    "value": wording.plain,
}


def make_report(request: Request, task: MakeReport, tell: Callable[[Message], None]) -> Done:
    """Write the report and the bundles into the outputs folder. The same report gives the same bytes."""
    tell(Progress(fraction=0.1, message="drawing the report"))
    (request.outputs / "report.html").write_text(render(task.report), encoding="utf-8")
    (request.outputs / "report.md").write_text(render_markdown(task.report), encoding="utf-8")
    (request.outputs / "report.json").write_text(task.report.model_dump_json(indent=2), encoding="utf-8")
    kits = request.inputs.get(InputRole.KIT)
    bundles = () if kits is None else tuple(assemble(kits, task.manifests, request.outputs))
    return Done(
        result=ReportMade(),
        outputs=(
            MadeFile(name="report.html", kind=ArtifactKind.REPORT, media_type="text/html"),
            MadeFile(name="report.md", kind=ArtifactKind.REPORT, media_type="text/markdown"),
            MadeFile(name="report.json", kind=ArtifactKind.REPORT, media_type="application/json"),
            *bundles,
        ),
    )


def render(report: JobReport) -> str:
    """The page. Names in it come from tenants: all of them are escaped."""
    return (
        _environment(autoescape=True)
        .get_template("report.html.j2")
        .render(
            report=report,
            style=Markup((TEMPLATES / "report.css").read_text()),  # noqa: S704  # our own file
            headlines=wording.HEADLINES,
            settings_of=wording.SETTINGS,
            latency_rows=wording.latency_rows,
            loss=wording.loss,
            target_charts=[_target_charts(number, target) for number, target in enumerate(report.targets)],
            candidate_charts=_candidate_charts(report.candidates),
            study_charts=study_charts(report.study) if report.study else {},
            pass_charts=[_pass_charts(number, done) for number, done in enumerate(report.passes)],
        )
    )


def render_markdown(report: JobReport) -> str:
    """The same without pictures, for a pull request or a terminal. Every value is escaped."""
    return (
        _environment(autoescape=False, finalize=wording.markdown)
        .get_template("report.md.j2")
        .render(
            report=report,
            headlines=wording.HEADLINES,
            settings_of=wording.SETTINGS,
            latency_rows=wording.latency_rows,
            loss=wording.loss,
        )
    )


def _environment(**how: Any) -> Environment:
    environment = Environment(  # noqa: S701 - both callers escape, each in its own way
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, **how
    )
    environment.filters.update(FILTERS)
    return environment


def _target_charts(number: int, target: TargetReport) -> dict[str, Markup]:
    drawn = {
        "Speed-up": charts.speedup_chart(f"t{number}speedup", target.speedup),
        "File size": charts.size_chart(f"t{number}size", target),
        "Latency": charts.latency_chart(f"t{number}latency", target.original.latency, target.result.latency),
    }
    if target.calibration:
        drawn["Calibration"] = charts.calibration_chart(f"t{number}calibration", target.calibration)
    for place, scenario in enumerate(target.scenarios):
        if scenario.points:
            drawn[f"load{place}"] = charts.load_chart(f"t{number}load{place}", scenario)
    return drawn


def _candidate_charts(candidates: tuple[Candidate, ...]) -> dict[str, Markup]:
    """One picture per target of what was lost against what was gained."""
    drawn = {}
    for number, target in enumerate(dict.fromkeys(candidate.target for candidate in candidates)):
        tried = [one for one in candidates if one.target is target and one.speedup is not None]
        if tried:
            drawn[f"Tried on {target}"] = charts.candidates_chart(f"c{number}", tried)
    return drawn


def _pass_charts(number: int, done: PassReport) -> dict[str, Markup]:
    drawn = {
        f"{group[0].y_label} per {group[0].x_label}": charts.curves_chart(f"p{number}curves{index}", group)
        for index, group in enumerate(_alike(done.curves))
    }
    if any(charts.percent_in(layer.after) is not None for layer in done.layers):
        drawn["Sparsity per layer"] = charts.sparsity_chart(f"p{number}sparsity", done.layers)
    if any(charts.bits_in(layer.after) is not None for layer in done.layers):
        drawn["Bits per layer"] = charts.bits_chart(f"p{number}bits", done.layers)
    if any(layer.sqnr_db is not None for layer in done.noise):
        drawn["What is left of each layer's output"] = charts.noise_chart(f"p{number}noise", done.noise)
    if done.importance:
        drawn["Importance of what was cut"] = charts.importance_chart(f"p{number}importance", done.importance)
    return drawn


def _alike(curves: tuple[Curve, ...]) -> Iterator[list[Curve]]:
    """Curves that share both axes, together; those without a point are left out."""

    def axes(curve: Curve) -> tuple[str, str]:
        return curve.x_label, curve.y_label

    for _, group in groupby(sorted((curve for curve in curves if curve.x), key=axes), key=axes):
        yield list(group)
