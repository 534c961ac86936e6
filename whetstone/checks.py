"""Checks, from the client's side: `client.checks`."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from whetstone.contract.checks import CheckRead, CheckSpec

if TYPE_CHECKING:
    from whetstone.client import Client

PATH = "/v1/checks"
WAIT = 30


class Checks:
    """Whether a candidate has become worse than what a job came to."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def create(self, spec: CheckSpec) -> CheckRead:
        """Raises Invalid or Conflict with the reason when nothing can be checked."""
        return CheckRead.model_validate_json(self._client.request("POST", PATH, spec).content)

    def get(self, check_id: str, wait: int = 0) -> CheckRead:
        """One check; with `wait` once it has ended, or after so many seconds."""
        headers = {"Prefer": f"wait={wait}"}
        return CheckRead.model_validate_json(self._client.request("GET", f"{PATH}/{check_id}", headers=headers).content)

    def list(self) -> Iterator[CheckRead]:
        """All, newest first, page by page."""
        return self._client.pages(PATH, CheckRead)

    def cancel(self, check_id: str) -> CheckRead:
        return CheckRead.model_validate_json(self._client.request("POST", f"{PATH}/{check_id}/cancel").content)

    def wait(self, check_id: str, seconds: float = 3600) -> CheckRead:
        """The check once it has ended, or as it is after `seconds`."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            check = self.get(check_id, wait=int(max(0, min(left, WAIT))))
            if check.state.is_final or left <= 0:
                return check
