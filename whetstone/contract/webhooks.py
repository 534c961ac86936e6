"""Webhooks: what happened is told to a tenant's own addresses, signed by the Standard Webhooks specification."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from whetstone.contract.failures import Failure
from whetstone.contract.jobs import JobState
from whetstone.contract.models import InspectionState
from whetstone.contract.reports import Verdict
from whetstone.contract.types import (
    Contract,
    Count,
    DatasetRef,
    DeliveryRef,
    EventRef,
    JobRef,
    Milliseconds,
    ModelRef,
    WebhookRef,
)
from whetstone.contract.usage import Measure

WebhookUrl = Annotated[
    str, StringConstraints(max_length=2000, pattern=r"^https?://[^\s/?#]+([/?][^\s#]*)?$", strip_whitespace=True)
]
Description = Annotated[str, StringConstraints(max_length=200, strip_whitespace=True)]


class WebhookKind(StrEnum):
    """What is told. A kind never changes its meaning; new ones may be added."""

    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    MODEL_READY = "model.ready"
    MODEL_REJECTED = "model.rejected"
    DATASET_READY = "dataset.ready"
    DATASET_REJECTED = "dataset.rejected"
    BUDGET_REACHED = "budget.reached"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_TEST = "webhook.test"


Kinds = Annotated[tuple[WebhookKind, ...], Field(max_length=len(WebhookKind))]


class JobNotice(Contract):
    """A job has finished."""

    about: Literal["job"] = "job"
    job_id: JobRef
    name: str
    state: JobState
    model_id: ModelRef
    dataset_id: DatasetRef | None
    verdict: Verdict | None
    failure: Failure | None
    finished_at: datetime


class UploadNotice(Contract):
    """A model or dataset has been inspected."""

    about: Literal["upload"] = "upload"
    id: ModelRef | DatasetRef
    name: str
    state: InspectionState
    failure: Failure | None


class WebhookNotice(Contract):
    """Something about a webhook itself: it was switched off, or is being tried out."""

    about: Literal["webhook"] = "webhook"
    webhook_id: WebhookRef
    url: str
    reason: str


class BudgetNotice(Contract):
    """What a month (its first day) has taken of the budget; `share` is the largest asked for that it has reached."""

    about: Literal["budget"] = "budget"
    month: date
    measure: Measure
    monthly: float
    spent: float
    share: float


Notice = Annotated[JobNotice | UploadNotice | BudgetNotice | WebhookNotice, Field(discriminator="about")]


class WebhookMessage(Contract):
    """The body of a delivery. The header `webhook-id` is the event's id: the same in every repetition."""

    type: WebhookKind
    timestamp: datetime
    data: Notice


class EventRead(Contract):
    """Something that happened to the tenant; kept for 30 days."""

    id: EventRef
    kind: WebhookKind
    data: Notice
    created_at: datetime


class WebhookCreate(Contract):
    """Where to tell, and what: every kind of event unless `events` names some."""

    url: WebhookUrl
    events: Kinds = ()
    description: Description = ""


class WebhookChange(Contract):
    """What to change; what is left out stays. `enabled` true also forgets past failures."""

    url: WebhookUrl | None = None
    events: Kinds | None = None
    description: Description | None = None
    enabled: bool | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if all(value is None for value in (self.url, self.events, self.description, self.enabled)):
            raise ValueError("name at least one thing to change")
        return self


class WebhookRead(Contract):
    """A webhook. `failing_since` is the first failure after the last success."""

    id: WebhookRef
    url: str
    events: tuple[WebhookKind, ...]
    description: str
    enabled: bool
    disabled_reason: str | None
    failing_since: datetime | None
    created_at: datetime


class WebhookCreated(WebhookRead):
    """A new webhook. `secret` verifies its messages and is shown this once."""

    secret: str


class RotateSecret(Contract):
    """Messages carry signatures of both secrets for `overlap_hours`."""

    overlap_hours: Annotated[float, Field(ge=0, le=7 * 24)] = 24


class SecretRotated(Contract):
    """The new secret, shown this once; the one before still signs until `previous_until`."""

    secret: str
    previous_until: datetime


class DeliveryState(StrEnum):
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class AttemptRead(Contract):
    """One try: `status` and the head of the answer, or the `error` that kept it from having one."""

    number: Count
    at: datetime
    milliseconds: Milliseconds
    status: int | None
    error: str | None
    answer: str


class DeliveryRead(Contract):
    """One event on its way to one webhook."""

    id: DeliveryRef
    webhook_id: WebhookRef
    event_id: EventRef
    kind: WebhookKind
    state: DeliveryState
    attempts: tuple[AttemptRead, ...]
    next_attempt_at: datetime | None
    created_at: datetime
