"""Signed tokens: what a worker or a link may do, until when. Each use has a salt of its own."""

import time
from enum import StrEnum
from typing import Any

from itsdangerous import BadSignature, URLSafeSerializer

from app.core.errors import AppError


class Use(StrEnum):
    STEP = "step"
    ATTEMPT = "attempt"
    FILE = "file"
    UPLOAD = "upload"
    SECOND_FACTOR = "second_factor"


class InvalidToken(AppError):
    """The token is not valid for this, or has expired."""

    code, status = "invalid_token", 401


class Signer:
    """Makes and checks tokens with the service's secret key (HMAC)."""

    def __init__(self, secret_key: str) -> None:
        self._serializers = {use: URLSafeSerializer(secret_key, salt=f"whetstone.{use}") for use in Use}

    def sign(self, use: Use, seconds: float, **claims: Any) -> str:
        return str(self._serializers[use].dumps({**claims, "exp": int(time.time() + seconds)}))

    def read(self, use: Use, token: str) -> dict[str, Any]:
        """The claims of a token. Raises InvalidToken when forged, made for another use, or expired."""
        try:
            claims: dict[str, Any] = self._serializers[use].loads(token)
        except BadSignature as error:
            raise InvalidToken from error
        if claims["exp"] < time.time():
            raise InvalidToken
        return claims
