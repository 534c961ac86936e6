"""Written by `python -m scripts.async_client` from whetstone/checks.py: change that."""

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from whetstone.checks import PATH, WAIT
from whetstone.contract.checks import CheckRead, CheckSpec

if TYPE_CHECKING:
    from whetstone.aio.client import AsyncClient


class Checks:
    """Whether a candidate has become worse than what a job came to."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def create(self, spec: CheckSpec) -> CheckRead:
        """Raises Invalid or Conflict with the reason when nothing can be checked."""
        return CheckRead.model_validate_json((await self._client.request("POST", PATH, spec)).content)

    async def get(self, check_id: str, wait: int = 0) -> CheckRead:
        """One check; with `wait` once it has ended, or after so many seconds."""
        headers = {"Prefer": f"wait={wait}"}
        return CheckRead.model_validate_json(
            (await self._client.request("GET", f"{PATH}/{check_id}", headers=headers)).content
        )

    def list(self) -> AsyncIterator[CheckRead]:
        """All, newest first, page by page."""
        return self._client.pages(PATH, CheckRead)

    async def cancel(self, check_id: str) -> CheckRead:
        return CheckRead.model_validate_json((await self._client.request("POST", f"{PATH}/{check_id}/cancel")).content)

    async def wait(self, check_id: str, seconds: float = 3600) -> CheckRead:
        """The check once it has ended, or as it is after `seconds`."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            check = await self.get(check_id, wait=int(max(0, min(left, WAIT))))
            if check.state.is_final or left <= 0:
                return check
