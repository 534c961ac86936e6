"""A second factor at log-in: codes of an authenticator app, and recovery codes for when it is lost."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints

from whetstone.contract.types import Contract, Count, DisplayName

Code = Annotated[
    str, StringConstraints(min_length=6, max_length=40, pattern=r"^[0-9A-Za-z -]+$", strip_whitespace=True)
]
Password = Annotated[SecretStr, Field(min_length=1, max_length=1000)]
Ticket = Annotated[str, Field(min_length=1, max_length=1000)]


class SecondFactorRead(Contract):
    """Whether codes are asked for, since when, and how many recovery codes are left."""

    enabled: bool
    since: datetime | None
    recovery_codes_left: Count


class SecondFactorStart(Contract):
    """Begin with one's password, so that an open browser is not enough."""

    password: Password


class SecondFactorSetup(Contract):
    """What an authenticator app needs: `uri` (otpauth, for a QR code), or `secret` (base 32) to type in."""

    uri: str
    secret: str


class SecondFactorCode(Contract):
    """A code of the app, or a recovery code. Each is good once."""

    code: Code


class SecondFactorDisable(Contract):
    """Switch the second factor off."""

    password: Password
    code: Code


class RecoveryCodes(Contract):
    """Each stands in for a code of the app once. They are shown this once: keep them apart from the app."""

    codes: tuple[str, ...]


class SignInCode(Contract):
    """The second call of signing in: the `ticket` of the problem `second_factor_needed`, and a code."""

    ticket: Ticket
    code: Code


class LoginCode(Contract):
    """The second call of logging in: the `ticket` of the problem `second_factor_needed`, and a code."""

    ticket: Ticket
    code: Code
    key_name: DisplayName = "login"
