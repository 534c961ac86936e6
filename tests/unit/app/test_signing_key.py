from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from app.provenance.keys import UnusableSigningKey, load
from scripts.openapi import NOWHERE
from whetstone.contract.provenance import signed_bytes


def pem(key: object) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined]


def test_the_key_comes_from_a_file_or_from_the_secret_key(tmp_path: Path) -> None:
    key, file = Ed25519PrivateKey.generate(), tmp_path / "key.pem"
    file.write_bytes(pem(key))
    loaded = load(NOWHERE.model_copy(update={"signing_key": file}))
    assert loaded.private.private_bytes_raw() == key.private_bytes_raw()
    derived = load(NOWHERE)
    assert derived.keyid == load(NOWHERE).keyid != loaded.keyid
    assert load(NOWHERE.model_copy(update={"secret_key": SecretStr("another")})).keyid != derived.keyid


def test_a_key_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    for content in (None, b"no key", pem(generate_private_key(SECP256R1()))):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(UnusableSigningKey, match="openssl genpkey -algorithm ed25519"):
            load(NOWHERE.model_copy(update={"signing_key": file}))


def test_what_is_signed_is_the_encoding_of_the_standard() -> None:
    assert signed_bytes(b"hello") == b"DSSEv1 28 application/vnd.in-toto+json 5 hello"
