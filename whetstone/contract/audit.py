"""The audit log: who changed what, when, from where."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from whetstone.contract.types import AuditRef, Contract, UserRef


class AuditEntry(Contract):
    """One change that was carried out.

    `action` is the operation's name (`submit_job`), `subject` the id of what was changed or made, `details` what a
    change of settings named. `key_id` is the API key's id, or the browser session's; none for a login by password.
    Without a `user_id` the service did it by itself, such as applying rules of retention.
    """

    id: AuditRef
    at: datetime
    user_id: UserRef | None
    key_id: str | None
    action: str
    subject: str | None
    details: dict[str, Any] | None
    address: str
    agent: str
    request_id: str


class ExportForm(StrEnum):
    """How an export is written: comma-separated values with a header, or a JSON object a line."""

    CSV = "csv"
    JSONL = "jsonl"
