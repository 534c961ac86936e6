"""Secrets that must be read again are kept encrypted (Fernet: AES-128-CBC and HMAC-SHA256) under the secret key."""

import base64
import hmac

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Sealer:
    """What it sealed, only a process with the same WHETSTONE_SECRET_KEY can open."""

    def __init__(self, secret_key: str) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(_derived(secret_key, b"whetstone.seal")))
        self._marking = _derived(secret_key, b"whetstone.fingerprint")

    def fingerprint(self, content: bytes) -> bytes:
        """A keyed hash: content that could be guessed, such as a password, is not given away by it."""
        return hmac.digest(self._marking, content, "sha256")

    def seal(self, content: bytes) -> bytes:
        return self._fernet.encrypt(content)

    def open(self, sealed: bytes) -> bytes:
        """Raises cryptography.fernet.InvalidToken when the secret key is another one."""
        return self._fernet.decrypt(sealed)


def _derived(secret_key: str, use: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=use).derive(secret_key.encode())
