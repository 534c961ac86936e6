"""Keys, members and invitations, from the client's side: `client.keys`, `client.members`, `client.invitations`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from whetstone.contract.identity import Role, Scope
from whetstone.contract.keys import ApiKeyCreate, ApiKeyCreated, ApiKeyRead, RotateKey
from whetstone.contract.members import (
    InvitationCreate,
    InvitationCreated,
    InvitationRead,
    MemberChange,
    MemberRead,
)

if TYPE_CHECKING:
    from whetstone.client import Client

_KEYS, _MEMBERS, _INVITATIONS = "/v1/keys", "/v1/members", "/v1/invitations"


class Keys:
    """API keys: what programs show to be let in."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def create(
        self, name: str, scopes: frozenset[Scope] | None = None, expires_in_days: int | None = None
    ) -> ApiKeyCreated:
        """May do whatever you may, unless `scopes` says less. Keep the answer's `secret`: it is shown this once."""
        body = ApiKeyCreate(name=name, scopes=scopes, expires_in_days=expires_in_days)
        return ApiKeyCreated.model_validate_json(self._client.request("POST", _KEYS, body).content)

    def list(self, prefix: str | None = None, user_id: str | None = None) -> Iterator[ApiKeyRead]:
        """Your own, for an admin everyone's; newest first."""
        wanted = {"prefix": prefix, "user_id": user_id}
        return self._client.pages(_KEYS, ApiKeyRead, **{name: value for name, value in wanted.items() if value})

    def rotate(self, key_id: str, overlap_hours: float = 24) -> ApiKeyCreated:
        """A new key like an old one of yours, or of a service account; the old one stays good for so many hours."""
        answer = self._client.request("POST", f"{_KEYS}/{key_id}/rotate", RotateKey(overlap_hours=overlap_hours))
        return ApiKeyCreated.model_validate_json(answer.content)

    def revoke(self, key_id: str) -> None:
        self._client.request("DELETE", f"{_KEYS}/{key_id}")


class Members:
    """Who belongs to the tenant."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def list(self) -> Iterator[MemberRead]:
        return self._client.pages(_MEMBERS, MemberRead)

    def get(self, user_id: str) -> MemberRead:
        return MemberRead.model_validate_json(self._client.request("GET", f"{_MEMBERS}/{user_id}").content)

    def change(self, user_id: str, role: Role) -> MemberRead:
        answer = self._client.request("PATCH", f"{_MEMBERS}/{user_id}", MemberChange(role=role))
        return MemberRead.model_validate_json(answer.content)

    def remove(self, user_id: str) -> None:
        """Their keys and sessions end at once."""
        self._client.request("DELETE", f"{_MEMBERS}/{user_id}")

    def remove_second_factor(self, user_id: str) -> None:
        """For a member who has lost it; the member's sessions end."""
        self._client.request("DELETE", f"{_MEMBERS}/{user_id}/second-factor")


class Invitations:
    """Who may join the tenant."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def create(self, email: str, role: Role = Role.MEMBER) -> InvitationCreated:
        """A link is sent to the address. The answer's `token`, shown this once, does the same."""
        body = InvitationCreate(email=email, role=role)
        return InvitationCreated.model_validate_json(self._client.request("POST", _INVITATIONS, body).content)

    def list(self) -> Iterator[InvitationRead]:
        """Those that nobody has taken up yet."""
        return self._client.pages(_INVITATIONS, InvitationRead)

    def take_back(self, invitation_id: str) -> None:
        self._client.request("DELETE", f"{_INVITATIONS}/{invitation_id}")
