"""Written by `python -m scripts.async_client` from whetstone/audit.py: change that."""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from whetstone.audit import PATH, _params
from whetstone.contract.audit import AuditEntry, ExportForm

if TYPE_CHECKING:
    from whetstone.aio.client import AsyncClient


class Audit:
    """Who changed what, when, from where. For admins."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    def list(
        self,
        action: str | None = None,
        subject: str | None = None,
        user_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[AuditEntry]:
        """Every change that fits, newest first, page by page. Times need a time zone."""
        return self._client.pages(PATH, AuditEntry, **_params(action, subject, user_id, since, until))

    async def get(self, entry_id: str) -> AuditEntry:
        return AuditEntry.model_validate_json((await self._client.request("GET", f"{PATH}/{entry_id}")).content)

    async def export(self, path: str | Path, form: ExportForm = ExportForm.JSONL) -> Path:
        """Write the whole log into a file, which appears whole or not at all."""
        return await self._client.save(f"{PATH}/export", Path(path), params={"form": form})
