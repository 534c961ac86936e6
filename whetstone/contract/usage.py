"""Usage and limits: what a plan allows, what was used, what it cost, and the budget that warns."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from whetstone.contract.estimates import Price
from whetstone.contract.jobs import StepKind
from whetstone.contract.quotas import QuotaUse
from whetstone.contract.targets import HardwareClass
from whetstone.contract.types import Bytes, Contract, Count, Seconds, StepRef

Share = Annotated[float, Field(gt=0, le=10)]


class WorkUse(Contract):
    """Steps that ended on one class of hardware. `price` is at the prices of the time; null where none was set."""

    hardware: HardwareClass
    steps: Count
    seconds: Seconds
    price: Price | None


class UsageDay(Contract):
    """One day (UTC). Steps count on the day they end; `storage_bytes` is the most that was seen of it."""

    day: date
    work: tuple[WorkUse, ...]
    requests: Count
    storage_bytes: Bytes


class UsageRead(Contract):
    """What was used from `since` to the day before `until`: in all, and on each day on which something was.

    Seconds run from a step's claim to its end: time in a queue never counts, nor does an attempt whose worker was lost,
    nor a step that failed by the service's fault. `quotas` is how much of the plan is used by now.
    """

    plan: str
    quotas: tuple[QuotaUse, ...]
    since: date
    until: date
    work: tuple[WorkUse, ...]
    requests: Count
    days: tuple[UsageDay, ...]


class StepUse(Contract):
    """One step that was metered. `subject_id` is the job, model or dataset that it was for."""

    step_id: StepRef
    subject_id: str
    kind: StepKind
    hardware: HardwareClass
    started_at: datetime
    finished_at: datetime
    seconds: Seconds
    price: Price | None


class Measure(StrEnum):
    """What a budget counts: money, or minutes on all classes of hardware together."""

    MONEY = "money"
    MINUTES = "minutes"


class BudgetSet(Contract):
    """How much a calendar month (UTC) may take, and at which shares of it `budget.reached` is told to the webhooks.

    A budget warns; it stops nothing. Quotas do.
    """

    measure: Measure
    monthly: Annotated[float, Field(gt=0, le=1e12)]
    alert_at: Annotated[tuple[Share, ...], Field(min_length=1, max_length=10)] = (0.5, 0.8, 1.0)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if list(self.alert_at) != sorted(set(self.alert_at)):
            raise ValueError("give the shares of `alert_at` once each, the smallest first")
        return self


class BudgetRead(BudgetSet):
    """The budget and what this month has taken of it."""

    month: date
    spent: Annotated[float, Field(ge=0)]
