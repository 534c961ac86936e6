"""Written by `python -m scripts.async_client` from whetstone/service_accounts.py: change that."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from whetstone.contract.identity import Role, Scope
from whetstone.contract.keys import ApiKeyCreate, ApiKeyCreated
from whetstone.contract.service_accounts import (
    ProgramRole,
    ServiceAccountChange,
    ServiceAccountCreate,
    ServiceAccountRead,
)
from whetstone.service_accounts import _PATH

if TYPE_CHECKING:
    from whetstone.aio.client import AsyncClient


class ServiceAccounts:
    """Programs, such as a CI, that have keys of their own."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def create(self, name: str, role: ProgramRole = Role.MEMBER) -> ServiceAccountRead:
        answer = await self._client.request("POST", _PATH, ServiceAccountCreate(name=name, role=role))
        return ServiceAccountRead.model_validate_json(answer.content)

    def list(self) -> AsyncIterator[ServiceAccountRead]:
        return self._client.pages(_PATH, ServiceAccountRead)

    async def get(self, account_id: str) -> ServiceAccountRead:
        return ServiceAccountRead.model_validate_json(
            (await self._client.request("GET", f"{_PATH}/{account_id}")).content
        )

    async def change(
        self, account_id: str, *, name: str | None = None, role: ProgramRole | None = None, enabled: bool | None = None
    ) -> ServiceAccountRead:
        """What is None stays. While it is not enabled none of its keys is good."""
        body = ServiceAccountChange(name=name, role=role, enabled=enabled)
        answer = await self._client.request("PATCH", f"{_PATH}/{account_id}", body)
        return ServiceAccountRead.model_validate_json(answer.content)

    async def delete(self, account_id: str) -> None:
        """Its keys end with it."""
        await self._client.request("DELETE", f"{_PATH}/{account_id}")

    async def create_key(
        self, account_id: str, name: str, scopes: frozenset[Scope] | None = None, expires_in_days: int | None = None
    ) -> ApiKeyCreated:
        """May do whatever the account's role may, unless `scopes` says less. The `secret` is shown this once."""
        body = ApiKeyCreate(name=name, scopes=scopes, expires_in_days=expires_in_days)
        answer = await self._client.request("POST", f"{_PATH}/{account_id}/keys", body)
        return ApiKeyCreated.model_validate_json(answer.content)
