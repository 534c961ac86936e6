"""Proving where a file comes from: its hash against a manifest, and the manifest's signature against a public key.

Needs no service but for the public keys, and those may come from a file.
"""

import base64
import binascii
import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from pydantic import TypeAdapter, ValidationError

from whetstone.contract.provenance import MANIFEST, Envelope, SigningKeyRead, Statement, signed_bytes
from whetstone.errors import Unreachable, WhetstoneError

KEYS: TypeAdapter[tuple[SigningKeyRead, ...]] = TypeAdapter(tuple[SigningKeyRead, ...])
LARGEST_MANIFEST = 16 * 2**20
CHUNK = 2**20

Keys = Mapping[str, Ed25519PublicKey]


class NotProven(WhetstoneError):
    """The file is not proven to be what was made: it was changed, or its manifest was, or the key is unknown."""


class UnusableKeys(WhetstoneError):
    """The keys must be what `whet signing-keys` prints, or an Ed25519 public key in PEM."""


@dataclass(frozen=True)
class Proven:
    """What is known of a file now. `names` are those of the statement's subjects that it is, or holds."""

    names: tuple[str, ...]
    keyid: str
    statement: Statement


def fetch_keys(url: str) -> tuple[SigningKeyRead, ...]:
    """The service's public keys; needs no login. Raises Unreachable."""
    try:
        answer = httpx.get(f"{url.rstrip('/')}/v1/signing-keys", timeout=30)
        return KEYS.validate_json(answer.raise_for_status().content)
    except (httpx.HTTPError, ValidationError) as error:
        raise Unreachable(f"{url} does not tell its signing keys: {error}") from error


def usable(keys: tuple[SigningKeyRead, ...]) -> Keys:
    """By the hash of the key itself, whatever id they came with. Raises UnusableKeys."""
    loaded = [_load(key.public_key.encode()) for key in keys]
    return {_keyid(key): key for key in loaded}


def read_keys(path: Path) -> Keys:
    """From a file. Raises UnusableKeys."""
    content = path.read_bytes()
    if content.lstrip().startswith(b"-----"):
        key = _load(content)
        return {_keyid(key): key}
    try:
        return usable(KEYS.validate_json(content))
    except ValidationError as error:
        raise UnusableKeys(UnusableKeys.__doc__) from error


def read_manifests(path: Path) -> tuple[Envelope, ...]:
    """Envelopes, one a line, or one alone. Raises NotProven when they are none."""
    content = path.read_bytes()
    try:
        return (Envelope.model_validate_json(content),)
    except ValidationError:
        return tuple(_envelope(line) for line in content.splitlines() if line.strip()) or _none(path)


def verify_file(path: Path, manifests: tuple[Envelope, ...], keys: Keys) -> Proven:
    """A file against the manifest that names its content. Raises NotProven."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    for envelope in manifests:
        keyid, statement = _signed(envelope, keys)
        names = tuple(subject.name for subject in statement.subject if subject.digest.sha256 == digest)
        if names:
            return Proven(names, keyid, statement)
    raise NotProven(f"No manifest names {path.name} (sha256 {digest}): it was changed, or came from elsewhere.")


def verify_bundle(path: Path, keys: Keys) -> Proven:
    """A bundle against the manifest inside it: every file must be named there, with its hash. Raises NotProven."""
    try:
        with tarfile.open(path) as archive:
            manifest, digests = _look_into(archive)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise NotProven(f"{path.name} is no whole bundle: {error}") from error
    if manifest is None:
        raise NotProven(f"{path.name} holds no {MANIFEST}.")
    keyid, statement = _signed(_envelope(manifest), keys)
    named = {subject.name: subject.digest.sha256 for subject in statement.subject}
    wrong = [name for name, digest in digests.items() if named.get(name) != digest]
    if wrong:
        raise NotProven(f"Not what the manifest says: {', '.join(wrong)}.")
    missing = [name for name, digest in named.items() if digest not in digests.values()]
    if missing:
        raise NotProven(f"Missing from {path.name}: {', '.join(missing)}.")
    return Proven(tuple(digests), keyid, statement)


def _look_into(archive: tarfile.TarFile) -> tuple[bytes | None, dict[str, str]]:
    """The manifest, and the hash of every other file by its path under the one folder. Nothing is unpacked."""
    manifest, digests = None, {}
    for entry, content in _files(archive):
        name = entry.name.partition("/")[2]
        if name == MANIFEST and entry.size <= LARGEST_MANIFEST:
            manifest = content.read()
        elif name in digests:
            raise NotProven(f"The bundle holds {name} twice.")
        else:
            digest = hashlib.sha256()
            while chunk := content.read(CHUNK):
                digest.update(chunk)
            digests[name] = digest.hexdigest()
    return manifest, digests


def _files(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    for entry in archive:
        content = archive.extractfile(entry) if entry.isreg() else None
        if content is None:
            raise NotProven(f"The bundle holds something that is no file: {entry.name}.")
        yield entry, content


def _signed(envelope: Envelope, keys: Keys) -> tuple[str, Statement]:
    """The statement, once a known key is proven to have signed it; nothing of it is read before."""
    try:
        payload = envelope.content()
        for signature in envelope.signatures:
            key = keys.get(signature.keyid)
            if key is not None:
                key.verify(base64.b64decode(signature.sig, validate=True), signed_bytes(payload))
                return signature.keyid, Statement.model_validate_json(payload)
    except (InvalidSignature, binascii.Error) as error:
        raise NotProven("The manifest's signature is wrong: it was changed after it was signed.") from error
    except ValidationError as error:
        raise NotProven("The manifest is signed, but of a kind that this version does not know.") from error
    unknown = ", ".join(signature.keyid[:16] for signature in envelope.signatures)
    raise NotProven(f"The manifest is signed by a key that is not known ({unknown}…): ask the right service for it.")


def _envelope(content: bytes) -> Envelope:
    try:
        return Envelope.model_validate_json(content)
    except ValidationError as error:
        raise NotProven("The manifest is no DSSE envelope of an in-toto statement.") from error


def _none(path: Path) -> tuple[Envelope, ...]:
    raise NotProven(f"{path.name} holds no manifest.")


def _load(pem: bytes) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem)
    except ValueError as error:
        raise UnusableKeys(UnusableKeys.__doc__) from error
    if not isinstance(key, Ed25519PublicKey):
        raise UnusableKeys(UnusableKeys.__doc__)
    return key


def _keyid(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
