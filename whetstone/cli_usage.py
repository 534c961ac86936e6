"""`whet usage`, `whet budget`."""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from whetstone import config
from whetstone.contract.estimates import Price
from whetstone.contract.usage import BudgetRead, Measure, UsageRead, WorkUse
from whetstone.printing import AsJson, out, print_all, print_done, print_row

app = typer.Typer(help="What was used, what it cost, and what the plan allows.")
budget = typer.Typer(no_args_is_help=True, help="How much a month may take before the webhooks are told.")

Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="UTC; this month if left out")]


@app.callback(invoke_without_command=True)
def show_usage(context: typer.Context, since: Day = None, until: Day = None, as_json: AsJson = False) -> None:
    """The days from `since` to the one before `until`, and how much of the plan is used by now."""
    if context.invoked_subcommand is not None:
        return
    with config.connect() as client:
        usage = client.usage.get(_day(since), _day(until))
    if as_json:
        typer.echo(usage.model_dump_json(indent=2))
    else:
        _print_usage(usage)


@app.command("export")
def export_usage(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="where to write it")],
    since: Day = None,
    until: Day = None,
    as_json: AsJson = False,
) -> None:
    """The days as comma-separated values."""
    with config.connect() as client:
        written = str(client.usage.export(file, _day(since), _day(until)))
    print_done({"file": written}, f"Written to {written}.", as_json)


@app.command("steps")
def list_steps(
    subject: Annotated[str | None, typer.Option(help="only steps of this job, model or dataset")] = None,
    as_json: AsJson = False,
) -> None:
    """Every step that was metered, newest first."""
    with config.connect() as client:
        print_all(client.usage.steps(subject), ("step_id", "kind", "hardware", "seconds", "finished_at"), as_json)


@budget.command("show")
def show_budget(as_json: AsJson = False) -> None:
    """The budget, and what this month has taken of it."""
    with config.connect() as client:
        _print_budget(client.usage.budget(), as_json)


@budget.command("set")
def set_budget(
    monthly: Annotated[float, typer.Argument(help="how much a month may take")],
    measure: Annotated[Measure, typer.Option(help="what it counts")] = Measure.MINUTES,
    alert_at: Annotated[list[float] | None, typer.Option(help="shares to tell at; may be repeated")] = None,
    as_json: AsJson = False,
) -> None:
    """Set or replace the budget. It warns; it stops nothing."""
    with config.connect() as client:
        shares = tuple(sorted(alert_at)) if alert_at else (0.5, 0.8, 1.0)
        _print_budget(client.usage.set_budget(measure, monthly, shares), as_json)


@budget.command("remove")
def remove_budget(as_json: AsJson = False) -> None:
    """Have no budget any more."""
    with config.connect() as client:
        client.usage.remove_budget()
    print_done({"removed": "budget"}, "", as_json)


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


def _print_usage(usage: UsageRead) -> None:
    out.print(f"Plan {usage.plan}", highlight=False)
    for quota in usage.quotas:
        name = quota.resource if quota.hardware is None else f"{quota.resource} on {quota.hardware}"
        used = "" if quota.used is None else f"{quota.used:,.1f} of "
        out.print(f"  {name}: {used}{quota.limit:,.0f}", highlight=False)
    table = Table("day", "minutes", "cost", "requests", "stored", box=None, pad_edge=False)
    for day in usage.days:
        table.add_row(str(day.day), *_work(day.work), f"{day.requests:,}", f"{day.storage_bytes:,} B")
    table.add_row("in all", *_work(usage.work), f"{usage.requests:,}", "", style="bold")
    out.print(table)


def _work(work: tuple[WorkUse, ...]) -> tuple[str, str]:
    minutes = ", ".join(f"{use.hardware} {use.seconds / 60:.1f}" for use in work)
    return minutes, ", ".join(_price(use.price) for use in work if use.price)


def _price(price: Price) -> str:
    return f"{price.amount:.2f} {price.currency}"


def _print_budget(row: BudgetRead, as_json: bool) -> None:
    line = f"{row.spent:,.2f} of {row.monthly:,.2f} {row.measure} in {row.month:%Y-%m}; told at "
    print_row(row, line + ", ".join(f"{share:.0%}" for share in row.alert_at), as_json)
