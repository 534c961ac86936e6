"""The small certainties of the control plane."""

import json
import time

import pytest

from app.core.ids import Prefix, new_id
from app.core.pagination import InvalidCursor, encode, read_cursor
from app.core.signing import InvalidToken, Signer, Use
from app.core.storage import UnsupportedStorage
from app.core.storage_choice import open_storage
from app.main import create_app
from app.settings import Settings
from app.uploads.sniff import EmptyFile, UnsafeFile, UnsupportedFormat, check_head
from scripts import openapi

SETTINGS = Settings(
    database_url="postgresql://nowhere/x",
    broker_url="redis://nowhere",
    storage_url="file:///tmp/whetstone-never-written",
    secret_key="secret",
    fleet_token="token",
)


def test_ids_sort_by_time() -> None:
    ids = []
    for _ in range(5):
        ids.append(new_id(Prefix.JOB))
        time.sleep(0.002)
    assert ids == sorted(ids)
    assert len(set(ids)) == 5


def test_a_token_is_good_for_one_use_until_it_expires() -> None:
    signer = Signer("secret")
    token = signer.sign(Use.STEP, 60, step_id="a")
    assert signer.read(Use.STEP, token)["step_id"] == "a"
    for use, text in ((Use.FILE, token), (Use.STEP, token + "x"), (Use.STEP, signer.sign(Use.STEP, -1))):
        with pytest.raises(InvalidToken):
            signer.read(use, text)
    with pytest.raises(InvalidToken):
        Signer("another secret").read(Use.STEP, token)


def test_cursors_are_opaque_and_checked() -> None:
    assert read_cursor(10, encode("job_1")).before_id == "job_1"
    for wrong in ("ÿ", "a", "====", "aaaa\n"):
        with pytest.raises(InvalidCursor):
            read_cursor(10, wrong)


@pytest.mark.parametrize("url", ["s3://", "s3://UPPER", "s3://bucket?x", "file://relative/folder", "/srv/files", ""])
def test_a_storage_that_is_not_supported_is_refused_when_the_service_starts(url: str) -> None:
    with pytest.raises(UnsupportedStorage):
        open_storage(SETTINGS.model_copy(update={"storage_url": url}), Signer("x"))


@pytest.mark.parametrize(
    ("head", "error"),
    [
        (b"", EmptyFile),
        (b"\x80\x05abc", UnsafeFile),
        (b"PK\x03\x04" + b"\0" * 22 + b"\x10\0\0\0" + b"archive/data.pkl", UnsafeFile),
        (b"BZh9", UnsupportedFormat),
    ],
)
def test_what_the_first_bytes_give_away(head: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_head(head)


@pytest.mark.parametrize("head", [b"\x08\x08\x12", b"PK\x03\x04" + b"\0" * 26 + b"model.onnx", b"\x80\x00", b"\x80"])
def test_what_may_pass(head: bytes) -> None:
    check_head(head)


OPEN = (
    "/v1/login",
    "/v1/sessions/oidc",
    "/v1/invitations/accept",
    "/v1/password-resets",
    "/v1/password-resets/confirm",
    "/v1/files/{token}",
    "/v1/signing-keys",
    "/v1/deletion-receipts/{receipt_id}",
)
SHARED = "/v1/shared/"


def test_openapi_is_complete() -> None:
    schema = create_app(SETTINGS).openapi()
    operations = [(path, method, op) for path, item in schema["paths"].items() for method, op in item.items()]
    assert len(operations) > 25
    for path, method, operation in operations:
        assert operation["summary"], (path, method)
        assert operation["description"], (path, method)
        if path.startswith("/v1") and path not in OPEN and not path.startswith(SHARED):
            assert "401" in operation["responses"], (path, method)
        if method == "post" and "403" in operation["responses"]:
            headers = {parameter["name"] for parameter in operation.get("parameters", ())}
            assert "Idempotency-Key" in headers, path
            assert "409" in operation["responses"], path
    orders = schema["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert len(orders) == 4
    refusals = schema["paths"]["/v1/jobs"]["post"]["responses"]["422"]["content"]["application/problem+json"]
    assert {"dataset_mismatch", "labels_required", "invalid_plan"} <= set(refusals["examples"])


def test_the_published_description_is_this_one() -> None:
    assert openapi.FILE.read_text() == openapi.text(), "read what changes for callers, then run `make openapi`"


def test_callers_are_told_of_every_change_of_the_contract() -> None:
    told = openapi.CHANGELOG.read_text()
    contract = openapi.contract_hash(openapi.FILE.read_text())
    assert openapi.newest_hash() == contract, 'say what changes for callers: `make openapi NOTE="Added: …"`'
    entries = told.split("\n## ")[1:]
    assert all(line.startswith(tuple(f"- {kind}: " for kind in openapi.KINDS)) for line in _bullets(entries))
    dates = [entry.split(" ", 1)[0] for entry in entries]
    assert dates == sorted(dates, reverse=True)


def _bullets(entries: list[str]) -> list[str]:
    found = [[line for line in entry.splitlines() if line.startswith("- ")] for entry in entries]
    assert all(found)
    return [line for lines in found for line in lines]


def test_prose_is_no_contract_and_all_else_is() -> None:
    document = json.loads(openapi.FILE.read_text())
    before = openapi.contract_hash(json.dumps(document))
    document["paths"]["/v1/jobs"]["get"]["description"] = "Other words."
    document["components"]["schemas"]["JobRead"]["title"] = "Another title"
    assert openapi.contract_hash(json.dumps(document)) == before
    schema = document["components"]["schemas"]["JobRead"]["properties"]
    schema["title"] = {"type": "string"}  # a field of this name, not a title
    assert openapi.contract_hash(json.dumps(document)) != before
