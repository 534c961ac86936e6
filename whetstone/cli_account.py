"""`whet account`: one's own account."""

from typing import Annotated

import typer

from whetstone.accounts import ask_for_reset, reset_password
from whetstone.client import DEFAULT_URL
from whetstone.printing import out

app = typer.Typer(no_args_is_help=True, help="Your own account: a forgotten password.")

Url = Annotated[str, typer.Argument(help="the service's address")]


@app.command("forgot-password")
def forgot_password(url: Url = DEFAULT_URL, email: Annotated[str | None, typer.Option()] = None) -> None:
    """Have a token sent to your address that sets a new password."""
    address = email or typer.prompt("Email")
    ask_for_reset(url, address)
    out.print(f"If {address} has an account, a letter is on its way. Then: whet account reset-password {url}")


@app.command("reset-password")
def choose_password(
    url: Url = DEFAULT_URL,
    token: Annotated[str | None, typer.Option(help="asked for if left out")] = None,
    password: Annotated[str | None, typer.Option(help="asked for if left out; at least ten characters")] = None,
    end_keys: Annotated[bool, typer.Option("--end-keys", help="end every API key of yours too")] = False,
) -> None:
    """Set a new password with the token that was sent to you; every session of yours ends."""
    token = token or typer.prompt("Token", hide_input=True)
    chosen = password or typer.prompt("Choose a password", hide_input=True, confirmation_prompt=True)
    reset_password(url, token, chosen, end_keys=end_keys)
    out.print("The password is changed, and every session has ended.")
