"""A forgotten password, replaced by whoever reads mail at the account's address."""

from typing import Annotated

from pydantic import Field

from whetstone.contract.members import Email, NewPassword
from whetstone.contract.types import Contract


class ResetRequest(Contract):
    """Have a token sent to this address, if it is an account's."""

    email: Email


class PasswordReset(Contract):
    """The token that was sent, and the new password. `end_keys` ends every API key of the account too."""

    token: Annotated[str, Field(min_length=1, max_length=200)]
    password: NewPassword
    end_keys: bool = False
