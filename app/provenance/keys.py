"""The key that manifests are signed with. It never leaves the control plane: workers are guests."""

import base64
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from app.settings import Settings
from whetstone.contract.provenance import Envelope, Signature, Statement, signed_bytes


class UnusableSigningKey(ValueError):
    """WHETSTONE_SIGNING_KEY must name a file with an Ed25519 private key: `openssl genpkey -algorithm ed25519`."""


@dataclass(frozen=True)
class SigningKey:
    """Signs statements; `keyid` is the SHA-256 of the public key (SubjectPublicKeyInfo, DER)."""

    private: Ed25519PrivateKey

    @property
    def public_pem(self) -> str:
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def keyid(self) -> str:
        der = self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()

    def sign(self, statement: Statement) -> Envelope:
        payload = statement.model_dump_json(by_alias=True).encode()
        return Envelope(
            payload=base64.b64encode(payload).decode(),
            signatures=(Signature(keyid=self.keyid, sig=self.sign_bytes(signed_bytes(payload))),),
        )

    def sign_bytes(self, content: bytes) -> str:
        """In base 64. Each kind of content must begin with a name of its own."""
        return base64.b64encode(self.private.sign(content)).decode()


def load(settings: Settings) -> SigningKey:
    """The key in the file that the settings name; without one, a key derived from the secret key.

    Raises UnusableSigningKey.
    """
    if settings.signing_key is None:
        return _derived(settings.secret_key.get_secret_value())
    try:
        key = load_pem_private_key(settings.signing_key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UnusableSigningKey(f"{UnusableSigningKey.__doc__} {settings.signing_key}: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UnusableSigningKey(UnusableSigningKey.__doc__)
    return SigningKey(key)


def _derived(secret_key: str) -> SigningKey:
    derive = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"whetstone.provenance")
    return SigningKey(Ed25519PrivateKey.from_private_bytes(derive.derive(secret_key.encode())))
