"""Lists of models, datasets and jobs on the command line, and the labels that they are found by."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import typer

from whetstone import config
from whetstone.client import Client
from whetstone.contract.labels import ResourceChange
from whetstone.contract.listing import Sort
from whetstone.listing import Filters
from whetstone.printing import AsJson, print_all, print_row

LabelOption = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="may be repeated")]
SelectorOption = Annotated[str | None, typer.Option(help="selector as for Kubernetes: team=vision,stage!=test")]
SearchOption = Annotated[str | None, typer.Option("-q", "--search", help="beginnings of words in the name")]
StateOption = Annotated[str | None, typer.Option(help="only in this state")]
KindOption = Annotated[str | None, typer.Option(help="of jobs recipe, search or tune; else the format")]
SinceOption = Annotated[datetime | None, typer.Option(help="created then or later; local time")]
UntilOption = Annotated[datetime | None, typer.Option(help="created before; local time")]
SortOption = Annotated[Sort, typer.Option(help="by time of creation or by name")]

UPLOADED = ("id", "name", "state", "size", "created_at")
ORDERED = ("id", "name", "state", "verdict", "created_at")


def add_to(app: typer.Typer, resource: str, fields: tuple[str, ...]) -> None:
    """`list` and `label` of `client.models`, `client.datasets` or `client.jobs`."""

    def of(client: Client) -> Any:
        return getattr(client, resource)

    app.command("list", help=f"All {resource}, or those that are asked for.")(_list_command(of, fields))
    app.command("label")(_label_command(of))


def _list_command(of: Callable[[Client], Any], fields: tuple[str, ...]) -> Callable[..., None]:
    def list_them(
        label: SelectorOption = None,
        search: SearchOption = None,
        state: StateOption = None,
        kind: KindOption = None,
        since: SinceOption = None,
        until: UntilOption = None,
        sort: SortOption = Sort.NEWEST,
        as_json: AsJson = False,
    ) -> None:
        filters = Filters(label=label, q=search, state=state, kind=kind, sort=sort)
        filters |= Filters(since=since and since.astimezone(), until=until and until.astimezone())
        with config.connect() as client:
            print_all(of(client).list(**filters), fields, as_json)

    return list_them


def _label_command(of: Callable[[Client], Any]) -> Callable[..., None]:
    def label(
        row_id: Annotated[str, typer.Argument(metavar="ID")],
        labels: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE… KEY-…")] = None,
        name: Annotated[str | None, typer.Option(help="call it so from now on")] = None,
        as_json: AsJson = False,
    ) -> None:
        """Set labels, and take away those that are written `key-`."""
        given = labels or []
        removed = frozenset(text[:-1] for text in given if text.endswith("-") and "=" not in text)
        added = labels_given([text for text in given if text[:-1] not in removed or "=" in text])
        with config.connect() as client:
            row = of(client).change(row_id, ResourceChange(name=name, labels=added, remove_labels=removed))
        print_row(row, f"{row.id}  {row.name}  {told(row.labels)}", as_json)

    return label


def labels_given(given: list[str] | None) -> dict[str, str]:
    """`KEY=VALUE` each."""
    pairs = [text.partition("=") for text in given or ()]
    if wrong := next((key for key, sign, _ in pairs if not sign), None):
        raise typer.BadParameter(f"{wrong}: write KEY=VALUE, or KEY- to take it away")
    return {key: value for key, _, value in pairs}


def told(labels: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
