"""`whet audit`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from whetstone import config
from whetstone.contract.audit import ExportForm
from whetstone.printing import AsJson, print_all, print_done

app = typer.Typer(no_args_is_help=True, help="Who changed what, when, from where; for admins.")

Moment = Annotated[datetime | None, typer.Option(help="UTC")]


@app.command("list")
def list_entries(
    action: Annotated[str | None, typer.Option(help="only this action, such as submit_job")] = None,
    subject: Annotated[str | None, typer.Option(help="only what happened to this id")] = None,
    user: Annotated[str | None, typer.Option(help="only what this member did, usr_…")] = None,
    since: Moment = None,
    until: Moment = None,
    as_json: AsJson = False,
) -> None:
    """Every change, newest first."""
    with config.connect() as client:
        entries = client.audit.list(action, subject, user, _utc(since), _utc(until))
        print_all(entries, ("at", "user_id", "action", "subject", "address"), as_json)


@app.command("export")
def export_entries(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="where to write it")],
    form: Annotated[ExportForm, typer.Option(help="how it is written")] = ExportForm.JSONL,
    as_json: AsJson = False,
) -> None:
    """The whole log as a file."""
    with config.connect() as client:
        written = str(client.audit.export(file, form))
    print_done({"file": written}, f"Written to {written}.", as_json)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
