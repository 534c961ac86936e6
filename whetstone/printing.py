"""How a command prints rows: for people, or as JSON."""

import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from whetstone.contract.keys import ApiKeyCreated

AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]

out = Console()


def print_row(row: BaseModel, line: str, as_json: bool) -> None:
    if as_json:
        typer.echo(row.model_dump_json(indent=2))
    else:
        out.print(line, highlight=False, markup=False)


def print_done(what: dict[str, str], line: str, as_json: bool) -> None:
    """What a command did that has no row to show; people are told only what they would not expect."""
    if as_json:
        typer.echo(json.dumps(what, indent=2))
    elif line:
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def print_key(made: ApiKeyCreated, as_json: bool) -> None:
    print_row(made, f"{made.id}  {made.name}\n{made.secret}", as_json)


def print_all(rows: Iterable[BaseModel], fields: tuple[str, ...], as_json: bool) -> None:
    dumped = [row.model_dump(mode="json") for row in rows]
    if as_json:
        typer.echo(json.dumps(dumped, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for field in fields:
        table.add_column(field, no_wrap=field == "id", min_width=30 if field == "id" else None)
    for row in dumped:
        table.add_row(*(_cell(row[field]) for field in fields))
    out.print(table)


def _cell(value: Any) -> str:
    return str(value["kind"]) if isinstance(value, dict) else "" if value is None else str(value)
