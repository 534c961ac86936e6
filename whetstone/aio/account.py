"""Written by `python -m scripts.async_client` from whetstone/account.py: change that."""

from typing import TYPE_CHECKING

from pydantic import SecretStr

from whetstone.account import _FACTOR, _PASSWORD
from whetstone.contract.members import PasswordChange
from whetstone.contract.second_factor import (
    RecoveryCodes,
    SecondFactorCode,
    SecondFactorDisable,
    SecondFactorRead,
    SecondFactorSetup,
    SecondFactorStart,
)

if TYPE_CHECKING:
    from whetstone.aio.client import AsyncClient


class Account:
    """Password and second factor."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def change_password(self, old: str, new: str) -> None:
        """Every browser is signed out. Raises Unauthorized when `old` is wrong, TooManyRequests."""
        PasswordChange(old=SecretStr(old), new=SecretStr(new))
        await self._client.request("PUT", _PASSWORD, json={"old": old, "new": new})

    async def second_factor(self) -> SecondFactorRead:
        return SecondFactorRead.model_validate_json((await self._client.request("GET", _FACTOR)).content)

    async def set_up_second_factor(self, password: str) -> SecondFactorSetup:
        """What an authenticator app needs. Then `confirm_second_factor` with its first code. Raises Conflict."""
        SecondFactorStart(password=SecretStr(password))
        answer = await self._client.request("PUT", _FACTOR, json={"password": password})
        return SecondFactorSetup.model_validate_json(answer.content)

    async def confirm_second_factor(self, code: str) -> tuple[str, ...]:
        """Switch it on. Keep the recovery codes: they are shown this once."""
        answer = await self._client.request("POST", f"{_FACTOR}/confirm", SecondFactorCode(code=code))
        return RecoveryCodes.model_validate_json(answer.content).codes

    async def renew_recovery_codes(self, code: str) -> tuple[str, ...]:
        """New recovery codes; the old ones end."""
        answer = await self._client.request("POST", f"{_FACTOR}/recovery-codes", SecondFactorCode(code=code))
        return RecoveryCodes.model_validate_json(answer.content).codes

    async def disable_second_factor(self, password: str, code: str) -> None:
        """Log-in asks for no code any more. Raises Unauthorized."""
        SecondFactorDisable(password=SecretStr(password), code=code)
        await self._client.request("POST", f"{_FACTOR}/disable", json={"password": password, "code": code})
