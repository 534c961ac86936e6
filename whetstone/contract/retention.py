"""How long a tenant's things are kept."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, model_validator

from whetstone.contract.types import Bytes, Contract, Count

Days = Annotated[int, Field(ge=1, le=36_500, description="days")]


class RetentionRules(Contract):
    """What is deleted when it is so many days old; None keeps it for ever.

    `jobs_days` after a job has finished it goes, with all that came out of it; after `artifacts_days` its files alone,
    and the report stays. Models and datasets go `unused_days` after the last job with them was ordered, if no job
    refers to them any more. Lines of the audit log go after `audit_days`, which must not be before anything else.
    """

    jobs_days: Days | None = None
    artifacts_days: Days | None = None
    unused_days: Days | None = None
    audit_days: Days | None = None

    @model_validator(mode="after")
    def _audit_is_kept_longest(self) -> Self:
        others = [days for days in (self.jobs_days, self.artifacts_days, self.unused_days) if days is not None]
        if self.audit_days is not None and others and self.audit_days < max(others):
            raise ValueError(f"audit_days must be {max(others)} at least: the log is kept as long as what it tells of")
        return self


class RetentionRead(Contract):
    """The rules, and when they were last applied."""

    rules: RetentionRules
    updated_at: datetime | None
    applied_at: datetime | None


class RetentionPreview(Contract):
    """What the rules would delete now, by id; `more`: this is not all of it."""

    jobs: tuple[str, ...]
    artifacts: tuple[str, ...]
    models: tuple[str, ...]
    datasets: tuple[str, ...]
    audit_lines: Count
    files: Count
    bytes: Bytes
    more: bool
