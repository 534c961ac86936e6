"""The audit log, from the client's side: `client.audit`."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from whetstone.contract.audit import AuditEntry, ExportForm

if TYPE_CHECKING:
    from whetstone.client import Client

PATH = "/v1/audit"


class Audit:
    """Who changed what, when, from where. For admins."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def list(
        self,
        action: str | None = None,
        subject: str | None = None,
        user_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[AuditEntry]:
        """Every change that fits, newest first, page by page. Times need a time zone."""
        return self._client.pages(PATH, AuditEntry, **_params(action, subject, user_id, since, until))

    def get(self, entry_id: str) -> AuditEntry:
        return AuditEntry.model_validate_json(self._client.request("GET", f"{PATH}/{entry_id}").content)

    def export(self, path: str | Path, form: ExportForm = ExportForm.JSONL) -> Path:
        """Write the whole log into a file, which appears whole or not at all."""
        return self._client.save(f"{PATH}/export", Path(path), params={"form": form})


def _params(
    action: str | None, subject: str | None, user_id: str | None, since: datetime | None, until: datetime | None
) -> dict[str, str]:
    given = {"action": action, "subject": subject, "user_id": user_id, "since": since, "until": until}
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in given.items()
        if value is not None
    }
