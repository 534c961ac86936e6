"""The tenant itself: what it is, and the end of it."""

import base64
from datetime import datetime
from typing import Annotated, Final

from pydantic import Field

from whetstone.contract.provenance import Base64
from whetstone.contract.types import Contract, Count, DisplayName, ReceiptRef, Sha256, TenantRef, UserRef

_RECEIPT: Final = b"whetstone.deletion-receipt\x00"


class ClosingRead(Contract):
    """The tenant is deleted, with everything it has, at `due_at`; until then an owner can call that off.

    `receipt_id` is where anyone can read, afterwards, that it was: keep it.
    """

    requested_by: UserRef
    requested_at: datetime
    due_at: datetime
    receipt_id: ReceiptRef


class TenantRead(Contract):
    """The caller's tenant."""

    id: TenantRef
    name: str
    plan: str
    created_at: datetime
    closing: ClosingRead | None


class ClosingRequest(Contract):
    """The tenant's name, to be sure."""

    name: DisplayName


class DeletionReceipt(Contract):
    """What is kept of a deleted tenant: nothing of its own but the SHA-256 of its id.

    `rows` were deleted by table, `objects` from the storage; `checked` are the tables that were looked through
    afterwards and had no row of it, as the storage had no object and the broker no key.
    """

    id: ReceiptRef
    tenant_sha256: Sha256
    requested_at: datetime
    finished_at: datetime
    rows: dict[str, Count]
    objects: Count
    checked: tuple[str, ...]


class SignedReceipt(Contract):
    """A receipt as JSON, and the service's Ed25519 signature over `receipt_bytes` of it (see `/v1/signing-keys`)."""

    content: Annotated[Base64, Field(description="a `DeletionReceipt` as JSON, in base 64")]
    keyid: Sha256
    sig: Base64

    def receipt(self) -> DeletionReceipt:
        """Not to be believed before the signature was verified."""
        return DeletionReceipt.model_validate_json(base64.b64decode(self.content, validate=True))


def receipt_bytes(content: bytes) -> bytes:
    """What is signed: the JSON after a name of its kind, so that no other signature can stand for it."""
    return _RECEIPT + content
