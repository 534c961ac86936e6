"""`whet account`: one's own account."""

from typing import Annotated

import typer

from whetstone import config
from whetstone.accounts import ask_for_reset, reset_password
from whetstone.contract.second_factor import RecoveryCodes
from whetstone.printing import AsJson, print_done, print_row
from whetstone.transport import DEFAULT_URL

app = typer.Typer(no_args_is_help=True, help="Your own account: password and second factor.")
factor = typer.Typer(no_args_is_help=True, help="Codes of an authenticator app, asked for at log-in.")
app.add_typer(factor, name="second-factor")

Password = Annotated[str | None, typer.Option(help="yours; asked for if left out")]
Code = Annotated[str | None, typer.Option(help="of the app, or a recovery code; asked for if left out")]
Url = Annotated[str, typer.Argument(help="the service's address")]


@app.command("forgot-password")
def forgot_password(
    url: Url = DEFAULT_URL, email: Annotated[str | None, typer.Option()] = None, as_json: AsJson = False
) -> None:
    """Have a token sent to your address that sets a new password."""
    address = email or typer.prompt("Email", err=as_json)
    ask_for_reset(url, address)
    told = f"If {address} has an account, a letter is on its way. Then: whet account reset-password {url}"
    print_done({"asked_for": address}, told, as_json)


@app.command("reset-password")
def choose_password(
    url: Url = DEFAULT_URL,
    token: Annotated[str | None, typer.Option(help="asked for if left out")] = None,
    password: Annotated[str | None, typer.Option(help="asked for if left out; at least ten characters")] = None,
    end_keys: Annotated[bool, typer.Option("--end-keys", help="end every API key of yours too")] = False,
    as_json: AsJson = False,
) -> None:
    """Set a new password with the token that was sent to you; every session of yours ends."""
    token = token or typer.prompt("Token", hide_input=True)
    chosen = password or typer.prompt("Choose a password", hide_input=True, confirmation_prompt=True)
    reset_password(url, token, chosen, end_keys=end_keys)
    print_done({"changed": "password"}, "The password is changed, and every session has ended.", as_json)


@app.command("password")
def change_password(
    old: Password = None,
    new: Annotated[str | None, typer.Option(help="asked for if left out; at least ten characters")] = None,
    as_json: AsJson = False,
) -> None:
    """Change your password; every browser is signed out."""
    before = _password(old)
    chosen = new or typer.prompt("New password", hide_input=True, confirmation_prompt=True)
    with config.connect() as client:
        client.account.change_password(before, chosen)
    print_done({"changed": "password"}, "The password is changed.", as_json)


@factor.command("show")
def show_factor(as_json: AsJson = False) -> None:
    """Whether codes are asked for."""
    with config.connect() as client:
        row = client.account.second_factor()
    state = f"on since {row.since:%Y-%m-%d}, {row.recovery_codes_left} recovery codes left" if row.since else "off"
    print_row(row, state, as_json)


@factor.command("enable")
def enable_factor(password: Password = None, as_json: AsJson = False) -> None:
    """Set up an authenticator app; prints recovery codes, this once."""
    with config.connect() as client:
        made = client.account.set_up_second_factor(_password(password))
        typer.echo(f"Add this to your authenticator app:\n{made.uri}\nor type in {made.secret}", err=as_json)
        _print_codes(client.account.confirm_second_factor(typer.prompt("Code that it shows", err=as_json)), as_json)


@factor.command("recovery-codes")
def renew_codes(code: Code = None, as_json: AsJson = False) -> None:
    """Make new recovery codes, printed this once; the old ones end."""
    with config.connect() as client:
        _print_codes(client.account.renew_recovery_codes(code or typer.prompt("Code", err=as_json)), as_json)


@factor.command("disable")
def disable_factor(password: Password = None, code: Code = None, as_json: AsJson = False) -> None:
    """Ask for no codes any more."""
    with config.connect() as client:
        client.account.disable_second_factor(_password(password), code or typer.prompt("Code", err=as_json))
    print_done({"disabled": "second factor"}, "The second factor is off.", as_json)


def _password(given: str | None) -> str:
    return given or str(typer.prompt("Password", hide_input=True))


def _print_codes(codes: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        typer.echo(RecoveryCodes(codes=codes).model_dump_json(indent=2))
        return
    typer.echo("\n".join(("Recovery codes, each good once. Keep them apart from the app:", *codes)))
