"""`whet check`: a gate for CI, and `whet checks`."""

from typing import Annotated

import typer
from rich.table import Table

from whetstone import config
from whetstone.client import Client
from whetstone.contract.checks import Beside, CheckLimits, CheckRead, CheckSpec, Finding, Judged, Outcome
from whetstone.contract.targets import Target
from whetstone.errors import WhetstoneError
from whetstone.ordering import err, model_given
from whetstone.printing import AsJson, out, print_all

app = typer.Typer(no_args_is_help=True, help="List and show checks.")

EXITS = {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.INCONCLUSIVE: 2}
COLOURS = {Outcome.PASS: "green", Outcome.FAIL: "red", Outcome.INCONCLUSIVE: "yellow"}
UNITS = {Judged.ACCURACY: " lost", Judged.LATENCY: "× as slow", Judged.SIZE: "× as large"}

CheckArgument = Annotated[str, typer.Argument(metavar="CHECK", help="the check's id, chk_…")]


def check(
    candidate: Annotated[str, typer.Argument(help="a model file, or the id of a model or job")],
    against: Annotated[str, typer.Option(metavar="JOB", help="the job that it must not be worse than")],
    max_drop: Annotated[float, typer.Option(min=0, max=100, help="points of accuracy that may be lost")] = 0.5,
    max_slowdown: Annotated[float, typer.Option(min=0.001, help="times as long that it may take")] = 1.1,
    max_growth: Annotated[float, typer.Option(min=0.001, help="times as large that it may be")] = 1.1,
    skip: Annotated[list[Judged] | None, typer.Option(help="do not judge this; may be repeated")] = None,
    target: Annotated[list[Target] | None, typer.Option(help="only there; may be repeated")] = None,
    beside: Annotated[Beside, typer.Option(help="what it is put beside: the job's result, or its model")] = (
        Beside.RESULT
    ),
    minutes: Annotated[float, typer.Option(min=0.1, help="how long to wait for the measurement")] = 60,
    as_json: AsJson = False,
) -> None:
    """See whether a model has become worse than what a job came to.

    Exit codes: 0 every limit is kept, 1 one is not, 2 it cannot be told, or something went wrong.
    """
    try:
        with config.connect() as client:
            model_id, job_id = _candidate(client, candidate)
            spec = CheckSpec(
                against=against,
                model_id=model_id,
                job_id=job_id,
                beside=beside,
                targets=tuple(target) if target else None,
                limits=CheckLimits(max_drop=max_drop, max_slowdown=max_slowdown, max_growth=max_growth),
                skip=frozenset(skip or ()),
            )
            found = client.checks.wait(client.checks.create(spec).id, 60 * minutes)
    except (WhetstoneError, ValueError) as error:
        err.print(f"[red]{error}[/]", highlight=False)
        raise typer.Exit(EXITS[Outcome.INCONCLUSIVE]) from error
    _print(found, as_json)
    raise typer.Exit(EXITS[found.outcome or Outcome.INCONCLUSIVE])


def _candidate(client: Client, given: str) -> tuple[str | None, str | None]:
    """The ids of a model and of a job, one of them None."""
    return (None, given) if given.startswith("job_") else (model_given(client, given), None)


@app.command("list")
def list_checks(as_json: AsJson = False) -> None:
    """All checks, newest first."""
    with config.connect() as client:
        print_all(client.checks.list(), ("id", "state", "outcome", "created_at"), as_json)


@app.command("show")
def show_check(check: CheckArgument, as_json: AsJson = False) -> None:
    """One check, with what was seen."""
    with config.connect() as client:
        _print(client.checks.get(check), as_json)


@app.command("cancel")
def cancel_check(check: CheckArgument, as_json: AsJson = False) -> None:
    """Stop a check that has not finished."""
    with config.connect() as client:
        _print(client.checks.cancel(check), as_json)


def _print(found: CheckRead, as_json: bool) -> None:
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    table = Table("target", "limit", "seen", "", box=None, pad_edge=False)
    for each in found.findings:
        outcome = f"[{COLOURS[each.outcome]}]{each.outcome}[/]: {each.because}"
        table.add_row(each.target.value, f"{each.limit:g}{UNITS[each.judged]}", _seen(each), outcome)
    out.print(table)
    told = found.outcome or found.state
    out.print(f"{found.id}  {told}", highlight=False)


def _seen(finding: Finding) -> str:
    seen = finding.seen
    if seen is None:
        return ""
    interval = "" if seen.low == seen.high else f" [{seen.low:.3g}, {seen.high:.3g}]"
    return f"{seen.value:.3g}{interval}"
