"""`whet keys`, `whet members`, `whet invitations`, `whet join`."""

from typing import Annotated

import typer

from whetstone import config
from whetstone.accounts import join
from whetstone.contract.identity import Role, Scope
from whetstone.printing import AsJson, print_all, print_done, print_key, print_row
from whetstone.transport import DEFAULT_URL

keys = typer.Typer(no_args_is_help=True, help="API keys for programs.")
members = typer.Typer(no_args_is_help=True, help="Who belongs to the tenant, as what.")
invitations = typer.Typer(no_args_is_help=True, help="Invite others.")

Key = Annotated[str, typer.Argument(metavar="KEY", help="the key's id, key_…")]
Member = Annotated[str, typer.Argument(metavar="MEMBER", help="the member's id, usr_…")]
Invitation = Annotated[str, typer.Argument(metavar="INVITATION", help="the invitation's id, inv_…")]


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="what it is for")],
    scope: Annotated[list[Scope] | None, typer.Option(help="may be repeated; all of yours if left out")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="after how many days it ends")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, printed this once."""
    with config.connect() as client:
        print_key(client.keys.create(name, frozenset(scope) if scope else None, days), as_json)


@keys.command("list")
def list_keys(
    prefix: Annotated[str | None, typer.Option(help="only keys that begin so")] = None,
    user: Annotated[str | None, typer.Option(help="only keys of this member or service account, usr_…")] = None,
    as_json: AsJson = False,
) -> None:
    """Your keys, for an admin everyone's; newest first."""
    with config.connect() as client:
        print_all(
            client.keys.list(prefix, user), ("id", "name", "prefix", "scopes", "expires_at", "last_used_at"), as_json
        )


@keys.command("rotate")
def rotate_key(
    key: Key,
    overlap_hours: Annotated[float, typer.Option(min=0, max=168, help="how long the old one stays good")] = 24,
    as_json: AsJson = False,
) -> None:
    """Make a new key like an old one, printed this once."""
    with config.connect() as client:
        print_key(client.keys.rotate(key, overlap_hours), as_json)


@keys.command("revoke")
def revoke_key(key: Key, as_json: AsJson = False) -> None:
    """End a key at once."""
    with config.connect() as client:
        client.keys.revoke(key)
    print_done({"revoked": key}, "", as_json)


@members.command("list")
def list_members(as_json: AsJson = False) -> None:
    """Everyone, newest first."""
    with config.connect() as client:
        print_all(client.members.list(), ("id", "email", "role", "created_at"), as_json)


@members.command("change")
def change_member(member: Member, role: Role, as_json: AsJson = False) -> None:
    """Give a member another role."""
    with config.connect() as client:
        row = client.members.change(member, role)
    print_row(row, f"{row.id}  {row.email}  {row.role}", as_json)


@members.command("remove")
def remove_member(member: Member, as_json: AsJson = False) -> None:
    """Remove a member; their keys and sessions end at once."""
    with config.connect() as client:
        client.members.remove(member)
    print_done({"removed": member}, "", as_json)


@members.command("remove-second-factor")
def remove_second_factor(member: Member, as_json: AsJson = False) -> None:
    """Switch off the second factor of a member who has lost it; their sessions end."""
    with config.connect() as client:
        client.members.remove_second_factor(member)
    print_done({"removed_second_factor_of": member}, "", as_json)


@invitations.command("create")
def invite(
    email: str,
    role: Annotated[Role, typer.Option(help="what they will be")] = Role.MEMBER,
    as_json: AsJson = False,
) -> None:
    """Invite someone by mail; the token of the link is printed too, this once."""
    with config.connect() as client:
        made = client.invitations.create(email, role)
    print_row(made, f"{made.id}  {made.email}  {made.role}\nwhet join {client.url}\ntoken {made.token}", as_json)


@invitations.command("list")
def list_invitations(as_json: AsJson = False) -> None:
    """Invitations that nobody has taken up yet."""
    with config.connect() as client:
        print_all(client.invitations.list(), ("id", "email", "role", "expires_at"), as_json)


@invitations.command("take-back")
def take_back(invitation: Invitation, as_json: AsJson = False) -> None:
    """Take an invitation back."""
    with config.connect() as client:
        client.invitations.take_back(invitation)
    print_done({"taken_back": invitation}, "", as_json)


def join_tenant(
    url: Annotated[str, typer.Argument(help="the service's address")] = DEFAULT_URL,
    token: Annotated[str | None, typer.Option(help="asked for if left out")] = None,
    password: Annotated[str | None, typer.Option(help="asked for if left out; at least ten characters")] = None,
    as_json: AsJson = False,
) -> None:
    """Take up an invitation; log in afterwards."""
    token = token or typer.prompt("Token", hide_input=True)
    chosen = password or typer.prompt("Choose a password", hide_input=True, confirmation_prompt=True)
    member = join(url, token, chosen)
    print_row(
        member, f"Joined as {member.email} ({member.role}). Now: whet login {url} --email {member.email}", as_json
    )
