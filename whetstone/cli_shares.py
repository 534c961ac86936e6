"""`whet shares`: links by which anyone may look at a report."""

from typing import Annotated

import typer

from whetstone import config
from whetstone.printing import AsJson, print_all, print_done, print_row

app = typer.Typer(no_args_is_help=True, help="Links by which anyone may look at a job's report.")

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="the job's id, job_…")]


@app.command("create")
def create_share(
    job: JobArgument,
    days: Annotated[int, typer.Option(min=1, max=365, help="after how many days it ends")] = 30,
    note: Annotated[str, typer.Option(help="whom it is for")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a link. It is printed this once."""
    with config.connect() as client:
        row = client.shares.create(job, days, note)
    print_row(row, f"{row.id}  until {row.expires_at:%Y-%m-%d %H:%M} UTC\n{row.url}", as_json)


@app.command("list")
def list_shares(job: JobArgument, as_json: AsJson = False) -> None:
    """The links to a job's report, those that have ended included, newest first."""
    with config.connect() as client:
        print_all(client.shares.list(job), ("id", "note", "views", "expires_at", "revoked_at"), as_json)


@app.command("revoke")
def revoke_share(
    share: Annotated[str, typer.Argument(metavar="SHARE", help="the link's id, shr_…")], as_json: AsJson = False
) -> None:
    """End a link at once."""
    with config.connect() as client:
        client.shares.revoke(share)
    print_done({"revoked": share}, "", as_json)
