"""Signing in with the operator's identity provider (OpenID Connect)."""

from typing import Annotated

from pydantic import Field, StringConstraints

from whetstone.contract.types import Contract

# Begins with one slash and has no backslash, so that no browser takes it for another host.
_PATH = r"^/([\w.~!$&'()*+,;=:@%?-][\w.~!$&'()*+,;=:@%?/#-]*)?$"
Path = Annotated[str, StringConstraints(max_length=300, pattern=_PATH)]


class ProviderSignIn(Contract):
    """Begin to sign in; an `invitation` is taken up by it. `next` is the page of this service to go to at the end."""

    invitation: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    next: Path = "/v1/me"


class ProviderAddress(Contract):
    """Where to send the browser."""

    url: str
