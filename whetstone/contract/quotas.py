"""Quotas: what a plan allows."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from whetstone.contract.targets import HardwareClass
from whetstone.contract.types import Contract


class Quotas(Contract):
    """What a tenant may use; None is no limit. A month is a calendar month (UTC).

    `storage_bytes` counts each content once. `steps_at_once` never refuses an order: more steps wait for their turn.
    """

    storage_bytes: Annotated[int, Field(ge=0)] | None = None
    steps_at_once: Annotated[int, Field(ge=1)] | None = None
    minutes_a_month: dict[HardwareClass, Annotated[float, Field(ge=0)]] = {}
    requests_a_minute: Annotated[int, Field(ge=1)] | None = None


class Resource(StrEnum):
    STORAGE_BYTES = "storage_bytes"
    STEPS_AT_ONCE = "steps_at_once"
    MINUTES_A_MONTH = "minutes_a_month"
    REQUESTS_A_MINUTE = "requests_a_minute"


class QuotaUse(Contract):
    """One quota. `hardware` is set for minutes; `used` for what adds up: storage, and this month's minutes."""

    resource: Resource
    hardware: HardwareClass | None = None
    limit: float
    used: float | None
