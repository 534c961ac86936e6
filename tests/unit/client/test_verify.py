"""What is proven, and what is not: made keys and bundles, no service."""

import io
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.provenance.keys import SigningKey
from tests.engine.report import factory
from whetstone import verify
from whetstone.contract.provenance import Envelope, SigningKeyRead
from whetstone.verify import NotProven

KEY, OTHER = SigningKey(Ed25519PrivateKey.generate()), SigningKey(Ed25519PrivateKey.generate())
FILES = {"result/model.onnx": b"weights", "reproduce.py": b"print()"}


def known(*keys: SigningKey) -> verify.Keys:
    now = datetime.now(UTC)
    reads = [SigningKeyRead(keyid=one.keyid, public_key=one.public_pem, current=True, created_at=now) for one in keys]
    return verify.usable(tuple(reads))


def signed(files: dict[str, bytes], key: SigningKey = KEY) -> Envelope:
    digests = {name: sha256(content).hexdigest() for name, content in files.items()}
    return key.sign(factory.statement(digests))


def bundle(path: Path, files: dict[str, bytes], envelope: Envelope | None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        manifest = {"manifest.json": envelope.model_dump_json().encode()} if envelope else {}
        for name, content in (manifest | files).items():
            entry = tarfile.TarInfo(f"folder/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_a_file_is_proven_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    file = tmp_path / "renamed.bin"
    file.write_bytes(b"weights")
    proven = verify.verify_file(file, (signed({"other": b"x"}), signed(FILES)), known(KEY))
    assert (proven.names, proven.keyid) == (("result/model.onnx",), KEY.keyid)
    file.write_bytes(b"weightz")
    with pytest.raises(NotProven, match="No manifest names"):
        verify.verify_file(file, (signed(FILES),), known(KEY))


def test_a_key_that_was_replaced_still_proves_what_it_signed(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b.tar.gz", FILES, signed(FILES, OTHER))
    assert verify.verify_bundle(path, known(KEY, OTHER)).keyid == OTHER.keyid
    with pytest.raises(NotProven, match="not known"):
        verify.verify_bundle(path, known(KEY))


def test_a_key_is_known_by_what_it_is_not_by_the_id_it_comes_with(tmp_path: Path) -> None:
    posing = SigningKeyRead(keyid=KEY.keyid, public_key=OTHER.public_pem, current=True, created_at=datetime.now(UTC))
    with pytest.raises(NotProven, match="not known"):
        verify.verify_bundle(bundle(tmp_path / "b.tar.gz", FILES, signed(FILES)), verify.usable((posing,)))


def changed_payload(envelope: Envelope) -> Envelope:
    return signed({"result/model.onnx": b"evil"}).model_copy(update={"signatures": envelope.signatures})


def wrong_signature(envelope: Envelope) -> Envelope:
    one = envelope.signatures[0].model_copy(update={"sig": "A" * 86 + "=="})
    return envelope.model_copy(update={"signatures": (one,)})


@pytest.mark.parametrize("change", [changed_payload, wrong_signature])
def test_a_manifest_that_was_changed_proves_nothing(tmp_path: Path, change: Callable[[Envelope], Envelope]) -> None:
    path = bundle(tmp_path / "b.tar.gz", FILES, change(signed(FILES)))
    with pytest.raises(NotProven, match="signature is wrong"):
        verify.verify_bundle(path, known(KEY))


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (FILES | {"reproduce.py": b"import os"}, "Not what the manifest says: reproduce.py"),
        (FILES | {"more.py": b"x"}, "Not what the manifest says: more.py"),
        ({"reproduce.py": b"print()"}, "Missing from b.tar.gz: result/model.onnx"),
    ],
)
def test_every_file_of_a_bundle_counts(tmp_path: Path, files: dict[str, bytes], why: str) -> None:
    path = bundle(tmp_path / "b.tar.gz", files, signed(FILES))
    with pytest.raises(NotProven, match=why):
        verify.verify_bundle(path, known(KEY))


def test_what_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "torn.tar.gz").write_bytes(bundle(tmp_path / "b.tar.gz", FILES, signed(FILES)).read_bytes()[:-40])
    for path in (bundle(tmp_path / "none.tar.gz", FILES, None), tmp_path / "torn.tar.gz"):
        with pytest.raises(NotProven):
            verify.verify_bundle(path, known(KEY))
    with tarfile.open(tmp_path / "link.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("folder/reproduce.py")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(NotProven, match="no file"):
        verify.verify_bundle(tmp_path / "link.tar.gz", known(KEY))


def test_keys_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(KEY.public_pem)
    assert set(verify.read_keys(tmp_path / "key.pem")) == {KEY.keyid}
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(verify.UnusableKeys):
        verify.read_keys(tmp_path / "no.json")
