"""The building blocks of every contract class: the frozen base, and the scalar types with their limits."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class Contract(BaseModel):
    """Immutable, closed data: an unknown field is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _prefixed(prefix: str) -> StringConstraints:
    return StringConstraints(pattern=rf"^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$")


# Ids are TypeIDs: a prefix and a UUIDv7 in Crockford's base 32, so they sort by time.
TenantRef = Annotated[str, _prefixed("ten")]
UserRef = Annotated[str, _prefixed("usr")]
KeyRef = Annotated[str, _prefixed("key")]
ModelRef = Annotated[str, _prefixed("mdl")]
DatasetRef = Annotated[str, _prefixed("dat")]
JobRef = Annotated[str, _prefixed("job")]
StepRef = Annotated[str, _prefixed("stp")]
ArtifactRef = Annotated[str, _prefixed("art")]
SessionRef = Annotated[str, _prefixed("ses")]
InvitationRef = Annotated[str, _prefixed("inv")]
WorkerRef = Annotated[str, _prefixed("wrk")]
WebhookRef = Annotated[str, _prefixed("whk")]
EventRef = Annotated[str, _prefixed("evt")]
DeliveryRef = Annotated[str, _prefixed("dlv")]
UploadRef = Annotated[str, _prefixed("upl")]
ReceiptRef = Annotated[str, _prefixed("rcp")]
AuditRef = Annotated[str, _prefixed("aud")]
CheckRef = Annotated[str, _prefixed("chk")]
TemplateRef = Annotated[str, _prefixed("tpl")]
ShareRef = Annotated[str, _prefixed("shr")]

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
DisplayName = Annotated[
    str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f]+$")
]
FileName = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^/\\\x00-\x1f]+$")]
TensorName = Annotated[str, StringConstraints(min_length=1, max_length=500)]
LayerNames = Annotated[tuple[TensorName, ...], Field(max_length=10_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Bytes = Annotated[int, Field(ge=0, description="size in bytes")]
Milliseconds = Annotated[float, Field(ge=0, description="milliseconds")]
Seconds = Annotated[float, Field(ge=0, description="seconds")]
