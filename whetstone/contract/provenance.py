"""Where a delivered file comes from and what is claimed of it: an in-toto statement, signed in a DSSE envelope."""

import base64
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field

from whetstone.contract.passes import Pass
from whetstone.contract.reports import BuiltReport, TargetReport
from whetstone.contract.types import Contract, DatasetRef, JobRef, ModelRef, Sha256, StepRef

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://whetstone.invalid/delivery/v1"
"""A name, not an address: `.invalid` is reserved (RFC 2606), so it can never come to lead anywhere."""

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MANIFEST = "manifest.json"
"""The name of the envelope inside a bundle."""

MANIFESTS = "manifest.intoto.jsonl"
"""The envelopes of a job, one a line: in-toto's name for such a file."""

Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$")]


class Digest(Contract):
    sha256: Sha256


class Descriptor(Contract):
    """A file by name and content."""

    name: Annotated[str, Field(min_length=1, max_length=500)]
    digest: Digest


class Delivery(Contract):
    """What is stated of the subjects: what went in, what was done, where it was measured, and what came of it.

    The claims are those of the report, without the curves for drawing and the tables of operators and layers. `recipe`
    is what was done for the first of them. Each names the hardware and the versions it was measured with; the whole
    toolchain is one of the subjects.
    """

    job_id: JobRef
    step_id: StepRef
    made_at: datetime
    model_id: ModelRef
    dataset_id: DatasetRef | None
    inputs: tuple[Descriptor, ...]
    recipe: tuple[Pass, ...]
    claims: tuple[TargetReport | BuiltReport, ...]


class Statement(Contract):
    """An in-toto Statement v1 (https://in-toto.io/Statement/v1)."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(STATEMENT_TYPE, alias="_type")
    subject: Annotated[tuple[Descriptor, ...], Field(min_length=1)]
    predicateType: Literal["https://whetstone.invalid/delivery/v1"] = PREDICATE_TYPE  # noqa: N815 - in-toto's name
    predicate: Delivery


class Signature(Contract):
    keyid: Sha256
    sig: Base64


class Envelope(Contract):
    """A DSSE envelope. Nothing in it is to be believed before a signature was verified over `signed_bytes`."""

    payload: Base64
    payloadType: Literal["application/vnd.in-toto+json"] = PAYLOAD_TYPE  # noqa: N815 - DSSE's name
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1, max_length=10)]

    def content(self) -> bytes:
        return base64.b64decode(self.payload, validate=True)


def signed_bytes(payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding (secure-systems-lab/dsse, protocol.md)."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


class SigningKeyRead(Contract):
    """A public key of the service (Ed25519, PEM). Keys that no longer sign stay, for what they have signed."""

    keyid: Sha256
    public_key: str
    current: bool
    created_at: datetime
