"""`whet service-accounts`."""

from typing import Annotated

import typer

from whetstone import config
from whetstone.contract.identity import Role, Scope
from whetstone.contract.service_accounts import ServiceAccountCreate, ServiceAccountRead
from whetstone.printing import AsJson, print_all, print_done, print_key, print_row

app = typer.Typer(no_args_is_help=True, help="Accounts for programs, such as a CI.")

Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="the account's id, usr_…")]
RoleOption = Annotated[Role, typer.Option(help="what it may do: admin, member or viewer")]


@app.command("create")
def create_account(name: str, role: RoleOption = Role.MEMBER, as_json: AsJson = False) -> None:
    """Make an account; then make it a key."""
    wanted = ServiceAccountCreate.model_validate({"name": name, "role": role})
    with config.connect() as client:
        _print(client.service_accounts.create(wanted.name, wanted.role), as_json)


@app.command("list")
def list_accounts(as_json: AsJson = False) -> None:
    """Every account, newest first."""
    with config.connect() as client:
        print_all(client.service_accounts.list(), ("id", "name", "role", "enabled", "created_at"), as_json)


@app.command("disable")
def disable_account(account: Account, as_json: AsJson = False) -> None:
    """Switch it off: none of its keys is good until it is enabled again."""
    with config.connect() as client:
        _print(client.service_accounts.change(account, enabled=False), as_json)


@app.command("enable")
def enable_account(account: Account, as_json: AsJson = False) -> None:
    """Switch it on again."""
    with config.connect() as client:
        _print(client.service_accounts.change(account, enabled=True), as_json)


@app.command("delete")
def delete_account(account: Account, as_json: AsJson = False) -> None:
    """Delete it with its keys."""
    with config.connect() as client:
        client.service_accounts.delete(account)
    print_done({"deleted": account}, "", as_json)


@app.command("create-key")
def create_key(
    account: Account,
    name: Annotated[str, typer.Argument(help="what it is for")],
    scope: Annotated[list[Scope] | None, typer.Option(help="may be repeated; all of the role's if left out")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="after how many days it ends")] = None,
    as_json: AsJson = False,
) -> None:
    """Make it a key, printed this once. `whet keys` lists, rotates and revokes it."""
    with config.connect() as client:
        print_key(client.service_accounts.create_key(account, name, frozenset(scope) if scope else None, days), as_json)


def _print(row: ServiceAccountRead, as_json: bool) -> None:
    state = "" if row.enabled else "  (disabled)"
    print_row(row, f"{row.id}  {row.name}  {row.role}{state}", as_json)
