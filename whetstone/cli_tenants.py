"""`whet tenant`."""

from pathlib import Path
from typing import Annotated

import typer

from whetstone import config
from whetstone.printing import AsJson, print_done, print_row

app = typer.Typer(no_args_is_help=True, help="The tenant itself: all that it has, and the end of it.")


@app.command("show")
def show_tenant(as_json: AsJson = False) -> None:
    """The tenant, and whether it is to be deleted."""
    with config.connect() as client:
        row = client.tenant.get()
    closing = f"\nto be deleted on {row.closing.due_at:%Y-%m-%d %H:%M} UTC" if row.closing else ""
    print_row(row, f"{row.id}  {row.name}  plan {row.plan}{closing}", as_json)


@app.command("export")
def export_tenant(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="where to write the zip file")], as_json: AsJson = False
) -> None:
    """Everything the tenant has: JSON Lines, and a link to each file."""
    with config.connect() as client:
        written = str(client.tenant.export(file))
    print_done({"file": written}, f"Written to {written}.", as_json)


@app.command("close")
def close_tenant(
    name: Annotated[str, typer.Argument(help="the tenant's name, to be sure")], as_json: AsJson = False
) -> None:
    """Have the tenant deleted with everything it has, in some days."""
    with config.connect() as client:
        row = client.tenant.close(name)
    told = f"Everything is deleted on {row.due_at:%Y-%m-%d %H:%M} UTC; `whet tenant keep` calls it off."
    print_row(row, f"{told}\nKeep the receipt's id: {row.receipt_id}", as_json)


@app.command("keep")
def keep_tenant(as_json: AsJson = False) -> None:
    """Call the deletion off."""
    with config.connect() as client:
        client.tenant.keep()
    print_done({"tenant": "kept"}, "The tenant stays.", as_json)
