"""What needs no API key yet: logging in, joining a tenant, and a forgotten password."""

from collections.abc import Callable
from typing import Any

import httpx
from pydantic import SecretStr

from whetstone.contract.identity import Login
from whetstone.contract.keys import ApiKeyCreated
from whetstone.contract.members import InvitationAccept, MemberRead
from whetstone.contract.resets import PasswordReset, ResetRequest
from whetstone.contract.second_factor import LoginCode
from whetstone.errors import SecondFactorNeeded, Unreachable
from whetstone.transport import checked


def log_in(url: str, email: str, password: str, key_name: str, code: Callable[[], str] | None = None) -> ApiKeyCreated:
    """Exchange an email address and password for an API key. `code` is called where the account asks for one too.
    Raises Unauthorized; SecondFactorNeeded without `code`; TooManyRequests.
    """
    body = {"email": email, "password": password, "key_name": key_name}
    Login.model_validate(body)
    try:
        answer = _post(url, "/v1/login", body)
    except SecondFactorNeeded as needed:
        if code is None:
            raise
        second = LoginCode(ticket=needed.problem.ticket or "", code=code(), key_name=key_name)
        answer = _post(url, "/v1/login/second-factor", second.model_dump())
    return ApiKeyCreated.model_validate_json(answer.content)


def join(url: str, token: str, password: str) -> MemberRead:
    """Take up an invitation with a password of one's own, of ten characters or more. Raises NotFound, Conflict."""
    InvitationAccept(token=token, password=SecretStr(password))
    answer = _post(url, "/v1/invitations/accept", {"token": token, "password": password})
    return MemberRead.model_validate_json(answer.content)


def ask_for_reset(url: str, email: str) -> None:
    """Have a token sent to this address, if it is an account's, which sets a new password within an hour."""
    _post(url, "/v1/password-resets", ResetRequest(email=email).model_dump())


def reset_password(url: str, token: str, password: str, *, end_keys: bool = False) -> None:
    """Set a new password with the token that was sent; every session of the account ends. Raises NotFound."""
    PasswordReset(token=token, password=SecretStr(password), end_keys=end_keys)
    _post(url, "/v1/password-resets/confirm", {"token": token, "password": password, "end_keys": end_keys})


def _post(url: str, path: str, body: dict[str, Any]) -> httpx.Response:
    try:
        return checked(httpx.post(f"{url.rstrip('/')}{path}", json=body, timeout=30))
    except httpx.TransportError as error:
        raise Unreachable(f"{url} cannot be reached: {error}") from error
