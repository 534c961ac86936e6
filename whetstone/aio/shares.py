"""Written by `python -m scripts.async_client` from whetstone/shares.py: change that."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from whetstone.contract.shares import ShareCreate, ShareCreated, ShareRead
from whetstone.shares import _path

if TYPE_CHECKING:
    from whetstone.aio.client import AsyncClient


class Shares:
    """Links by which anyone may look at a job's report."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def create(self, job_id: str, expires_in_days: int = 30, note: str = "") -> ShareCreated:
        """Keep the answer's `url`: it is shown this once. Raises Conflict where there is no report."""
        body = ShareCreate(expires_in_days=expires_in_days, note=note)
        return ShareCreated.model_validate_json((await self._client.request("POST", _path(job_id), body)).content)

    def list(self, job_id: str) -> AsyncIterator[ShareRead]:
        """Those that have ended included, newest first."""
        return self._client.pages(_path(job_id), ShareRead)

    async def revoke(self, share_id: str) -> None:
        await self._client.request("DELETE", f"/v1/shares/{share_id}")
