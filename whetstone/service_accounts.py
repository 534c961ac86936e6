"""Accounts of programs, from the client's side: `client.service_accounts`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from whetstone.contract.identity import Role, Scope
from whetstone.contract.keys import ApiKeyCreate, ApiKeyCreated
from whetstone.contract.service_accounts import (
    ProgramRole,
    ServiceAccountChange,
    ServiceAccountCreate,
    ServiceAccountRead,
)

if TYPE_CHECKING:
    from whetstone.client import Client

_PATH = "/v1/service-accounts"


class ServiceAccounts:
    """Programs, such as a CI, that have keys of their own."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def create(self, name: str, role: ProgramRole = Role.MEMBER) -> ServiceAccountRead:
        answer = self._client.request("POST", _PATH, ServiceAccountCreate(name=name, role=role))
        return ServiceAccountRead.model_validate_json(answer.content)

    def list(self) -> Iterator[ServiceAccountRead]:
        return self._client.pages(_PATH, ServiceAccountRead)

    def get(self, account_id: str) -> ServiceAccountRead:
        return ServiceAccountRead.model_validate_json(self._client.request("GET", f"{_PATH}/{account_id}").content)

    def change(
        self,
        account_id: str,
        *,
        name: str | None = None,
        role: ProgramRole | None = None,
        enabled: bool | None = None,
    ) -> ServiceAccountRead:
        """What is None stays. While it is not enabled none of its keys is good."""
        body = ServiceAccountChange(name=name, role=role, enabled=enabled)
        answer = self._client.request("PATCH", f"{_PATH}/{account_id}", body)
        return ServiceAccountRead.model_validate_json(answer.content)

    def delete(self, account_id: str) -> None:
        """Its keys end with it."""
        self._client.request("DELETE", f"{_PATH}/{account_id}")

    def create_key(
        self,
        account_id: str,
        name: str,
        scopes: frozenset[Scope] | None = None,
        expires_in_days: int | None = None,
    ) -> ApiKeyCreated:
        """May do whatever the account's role may, unless `scopes` says less. The `secret` is shown this once."""
        body = ApiKeyCreate(name=name, scopes=scopes, expires_in_days=expires_in_days)
        answer = self._client.request("POST", f"{_PATH}/{account_id}/keys", body)
        return ApiKeyCreated.model_validate_json(answer.content)
