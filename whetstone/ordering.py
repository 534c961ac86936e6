"""What commands that order a job have in common: their options, its files, and waiting for its end."""

from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from whetstone import show
from whetstone.client import Client
from whetstone.contract.datasets import DatasetRead
from whetstone.contract.estimates import JobEstimate
from whetstone.contract.jobs import JobSpec, Objective
from whetstone.contract.passes import Pass
from whetstone.contract.preprocessing import Preprocessing, StatisticsFile
from whetstone.contract.reports import JobReport, VerdictKind
from whetstone.contract.scenarios import Scenario
from whetstone.contract.targets import Target
from whetstone.declaring import as_one_file, preprocessing_given
from whetstone.printing import out, print_row

err = Console(stderr=True)


class Exit(IntEnum):
    DONE = 0
    FAILED = 1
    UNREACHABLE = 3
    REFUSED = 4
    NO_GAIN = 10
    OVER_BUDGET = 11


ModelOption = Annotated[str, typer.Argument(metavar="MODEL", help="a file, or the id of an uploaded model")]
DataOption = Annotated[str | None, typer.Option(help="a file or a folder, or the id of an uploaded dataset")]
CalibrationOption = Annotated[
    str | None, typer.Option(help="statistics of `whet calibrate`, a file or an id: --quantize static without data")
]
TargetOption = Annotated[list[Target] | None, typer.Option(help="where it must run; may be repeated")]
BatchOption = Annotated[int, typer.Option(min=1, help="batch that is measured")]
ShapeOption = Annotated[
    list[str] | None, typer.Option(help="without data: NAME=1,3,224,224 for an input with free axes; repeatable")
]
SecondsOption = Annotated[float, typer.Option(min=1, max=600, help="how long to measure each target")]
ScenarioOption = Annotated[
    list[str] | None,
    typer.Option(
        help="also measure under a load: offline, multi_stream:processes=4, single_stream:threads=1/2 or "
        "server:rate=200,latency_ms=20; repeatable"
    ),
]
ObjectiveOption = Annotated[Objective, typer.Option(help="what better means")]
DropOption = Annotated[float | None, typer.Option(min=0, help="points of accuracy that may be lost; 0.5")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="folder for the results")]
DetachOption = Annotated[bool, typer.Option(help="do not wait; print the job's id")]
RESULTS = Path("whetstone-results")


def model_given(client: Client, given: str) -> str:
    if given.startswith("mdl_"):
        return given
    path = Path(given)
    if not path.is_file():
        raise typer.BadParameter(f"there is no file {path}")
    with show.upload_bar(err, path) as on_bytes:
        return client.models.upload(path, None, on_bytes).id


def dataset_given(client: Client, given: str | None, preprocessing: str | None = None) -> str | None:
    """The id of a dataset, which is uploaded where a file or a folder is given."""
    how = preprocessing_given(preprocessing)
    if given is None or given.startswith("dat_"):
        if how is not None:
            raise typer.BadParameter("--preprocessing says how a file is read: give --data a file or folder with it")
        return given
    return upload_dataset(client, Path(given), how).id


def calibration_given(client: Client, given: str | None) -> str | None:
    """The id of statistics, which are uploaded where a file is given."""
    if given is None or given.startswith("dat_"):
        return given
    return upload_dataset(client, Path(given), StatisticsFile()).id


def upload_dataset(
    client: Client,
    path: Path,
    how: Preprocessing | None,
    name: str | None = None,
    labels: dict[str, str] | None = None,
) -> DatasetRead:
    with as_one_file(path) as file, show.upload_bar(err, file) as on_bytes:
        if how is None:
            return client.datasets.upload(file, name, on_bytes, labels)
        return client.datasets.read(file, how, name, on_bytes, labels)


def passes_given(recipe: Path) -> tuple[Pass, ...]:
    """The recipe in a JSON file."""
    try:
        return TypeAdapter(tuple[Pass, ...]).validate_json(recipe.read_bytes())
    except ValidationError as error:
        raise typer.BadParameter(f"{recipe}: {error}") from error


def shapes_given(given: list[str]) -> dict[str, tuple[int, ...]]:
    """`NAME=1,3,224,224` each."""
    shapes = {}
    for text in given:
        name, _, sizes = text.rpartition("=")
        if not name or not all(size.strip().isdigit() for size in sizes.split(",")):
            raise typer.BadParameter(f"{text}: write NAME=1,3,224,224")
        shapes[name] = tuple(map(int, sizes.split(",")))
    return shapes


def scenarios_given(given: list[str]) -> tuple[Scenario, ...]:
    """`KIND` or `KIND:FIELD=VALUE,…` each; several numbers of threads have a slash between them."""
    return tuple(map(_scenario, given))


def _scenario(text: str) -> Scenario:
    kind, _, told = text.partition(":")
    fields: dict[str, object] = {"kind": kind.replace("-", "_")}
    for pair in filter(None, told.split(",")):
        name, _, value = pair.partition("=")
        fields[name] = value.split("/") if name == "threads" else value
    try:
        return TypeAdapter[Scenario](Scenario).validate_python(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise typer.BadParameter(f"{text}: {place}: {first['msg']}") from error


def order(client: Client, spec: JobSpec, output: Path, detach: bool, as_json: bool) -> None:
    """Submit the job, watch it, fetch its files, print its report and exit as its verdict says."""
    job = client.jobs.submit(spec)
    if detach:
        print_row(job, job.id, as_json)
        return
    report = follow(client, job.id)
    files = client.jobs.download(job.id, output)
    print_report(report, as_json)
    for file in files:
        err.print(f"  {file}", highlight=False)
    raise typer.Exit(exit_code(report))


def print_estimate(found: JobEstimate, as_json: bool) -> None:
    """The exit code tells whether any target can be reached."""
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        out.print(show.estimate_table(found))
    raise typer.Exit(Exit.DONE if found.feasible else Exit.FAILED)


def follow(client: Client, job_id: str) -> JobReport:
    with show.job_bars(err) as on_event:
        return client.jobs.wait(job_id, on_event)


def exit_code(report: JobReport) -> int:
    match report.verdict.kind:
        case VerdictKind.IMPROVED | VerdictKind.BUILT:
            return Exit.DONE
        case VerdictKind.NO_GAIN:
            return Exit.NO_GAIN
        case VerdictKind.OVER_BUDGET:
            return Exit.OVER_BUDGET


def print_report(report: JobReport, as_json: bool) -> None:
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        out.print(show.report_table(report))
        if report.study is not None:
            out.print(show.study_line(report.study), highlight=False, markup=False)
        out.print(f"[bold {show.COLOURS[report.verdict.kind]}]{report.verdict.kind}[/]: {report.verdict.reason}")
