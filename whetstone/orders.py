"""Jobs that are ordered again, and jobs side by side."""

from typing import TYPE_CHECKING

from whetstone.contract.comparisons import Comparison
from whetstone.contract.jobs import JobRead
from whetstone.contract.templates import Overrides

if TYPE_CHECKING:
    from whetstone.client import Client

SAME = Overrides()


class Orders:
    """What `client.jobs` can do with orders that were given before."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def clone(self, job_id: str, wanted: Overrides = SAME) -> JobRead:
        """Order a job again, with what is to be other. Raises what submitting a job does."""
        return JobRead.model_validate_json(self._client.request("POST", f"/v1/jobs/{job_id}/clone", wanted).content)

    def compare(self, *job_ids: str) -> Comparison:
        """Two jobs or more; results are compared with those of the first."""
        answer = self._client.request("GET", "/v1/jobs/compare", params={"job": job_ids})
        return Comparison.model_validate_json(answer.content)
