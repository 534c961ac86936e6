"""Links to reports, from the client's side: `client.shares`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from whetstone.contract.shares import ShareCreate, ShareCreated, ShareRead

if TYPE_CHECKING:
    from whetstone.client import Client


class Shares:
    """Links by which anyone may look at a job's report."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def create(self, job_id: str, expires_in_days: int = 30, note: str = "") -> ShareCreated:
        """Keep the answer's `url`: it is shown this once. Raises Conflict where there is no report."""
        body = ShareCreate(expires_in_days=expires_in_days, note=note)
        return ShareCreated.model_validate_json(self._client.request("POST", _path(job_id), body).content)

    def list(self, job_id: str) -> Iterator[ShareRead]:
        """Those that have ended included, newest first."""
        return self._client.pages(_path(job_id), ShareRead)

    def revoke(self, share_id: str) -> None:
        self._client.request("DELETE", f"/v1/shares/{share_id}")


def _path(job_id: str) -> str:
    return f"/v1/jobs/{job_id}/shares"
