"""Written by `python -m scripts.async_client` from whetstone/orders.py: change that."""

from typing import TYPE_CHECKING

from whetstone.contract.comparisons import Comparison
from whetstone.contract.jobs import JobRead
from whetstone.contract.templates import Overrides
from whetstone.orders import SAME

if TYPE_CHECKING:
    from whetstone.aio.client import AsyncClient


class Orders:
    """What `client.jobs` can do with orders that were given before."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def clone(self, job_id: str, wanted: Overrides = SAME) -> JobRead:
        """Order a job again, with what is to be other. Raises what submitting a job does."""
        return JobRead.model_validate_json(
            (await self._client.request("POST", f"/v1/jobs/{job_id}/clone", wanted)).content
        )

    async def compare(self, *job_ids: str) -> Comparison:
        """Two jobs or more; results are compared with those of the first."""
        answer = await self._client.request("GET", "/v1/jobs/compare", params={"job": job_ids})
        return Comparison.model_validate_json(answer.content)
