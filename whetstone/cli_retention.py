"""`whet retention`."""

from typing import Annotated

import typer

from whetstone import config
from whetstone.contract.retention import RetentionPreview, RetentionRead, RetentionRules
from whetstone.printing import AsJson, print_row

app = typer.Typer(no_args_is_help=True, help="How long jobs, files and the audit log are kept; for admins.")

Jobs = Annotated[int | None, typer.Option(min=1, metavar="DAYS", help="jobs, after they have finished")]
Artifacts = Annotated[int | None, typer.Option(min=1, metavar="DAYS", help="files of jobs; the reports stay")]
Unused = Annotated[int | None, typer.Option(min=1, metavar="DAYS", help="models and datasets, after the last order")]
Audit = Annotated[int | None, typer.Option(min=1, metavar="DAYS", help="lines of the audit log, the longest of all")]


@app.command("show")
def show_rules(as_json: AsJson = False) -> None:
    """The rules, and when they were last applied."""
    with config.connect() as client:
        _print(client.retention.get(), as_json)


@app.command("set")
def set_rules(
    jobs: Jobs = None, artifacts: Artifacts = None, unused: Unused = None, audit: Audit = None, as_json: AsJson = False
) -> None:
    """Replace the rules: what is left out is kept for ever. Look at `preview` first."""
    with config.connect() as client:
        _print(client.retention.set(_rules(jobs, artifacts, unused, audit)), as_json)


@app.command("preview")
def preview_rules(
    jobs: Jobs = None, artifacts: Artifacts = None, unused: Unused = None, audit: Audit = None, as_json: AsJson = False
) -> None:
    """What rules would delete now; the ones that are set, if none are given. Deletes nothing."""
    rules = _rules(jobs, artifacts, unused, audit)
    with config.connect() as client:
        found = client.retention.preview(client.retention.get().rules if rules == RetentionRules() else rules)
    print_row(found, _told(found), as_json)


def _rules(jobs: int | None, artifacts: int | None, unused: int | None, audit: int | None) -> RetentionRules:
    return RetentionRules(jobs_days=jobs, artifacts_days=artifacts, unused_days=unused, audit_days=audit)


def _print(row: RetentionRead, as_json: bool) -> None:
    rules = row.rules.model_dump()
    lines = [f"{name.removesuffix('_days')}: {f'{days} days' if days else 'for ever'}" for name, days in rules.items()]
    applied = f"last applied {row.applied_at:%Y-%m-%d %H:%M} UTC" if row.applied_at else "not applied yet"
    print_row(row, "\n".join((*lines, applied)), as_json)


def _told(found: RetentionPreview) -> str:
    counts = (
        f"{len(found.jobs)} jobs, {len(found.artifacts)} artifacts, {len(found.models)} models, "
        f"{len(found.datasets)} datasets, {found.audit_lines} lines of the audit log; "
        f"{found.files} files of {found.bytes:,} bytes in all"
    )
    return f"{counts}{', and more' if found.more else ''}"
