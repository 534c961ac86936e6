"""Secrets that are handed out once: made at random, kept as a hash, found by it."""

import hashlib
import secrets
from functools import cache

from pwdlib import PasswordHash


def new_secret(start: str) -> str:
    return start + secrets.token_urlsafe(32)


def digest(secret: str) -> bytes:
    # The secret has 256 random bits, so one round of SHA-256 is as good as a slow hash, and quick to look up.
    return hashlib.sha256(secret.encode()).digest()


def matches(password: str, kept: str | None) -> bool:
    """Whether a password is the one whose hash is kept. Takes as long where none is."""
    if kept is None:
        passwords().hash(password)
        return False
    return passwords().verify(password, kept)


@cache
def passwords() -> PasswordHash:
    """argon2id, with the parameters that pwdlib recommends."""
    return PasswordHash.recommended()
