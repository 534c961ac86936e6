"""Templates, from the client's side: `client.templates`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from whetstone.contract.jobs import JobRead
from whetstone.contract.templates import TemplateChange, TemplateCreate, TemplateRead, TemplateUse

if TYPE_CHECKING:
    from whetstone.client import Client

PATH = "/v1/templates"


class Templates:
    """Orders that have a name, without model and data."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def create(self, wanted: TemplateCreate) -> TemplateRead:
        """Raises Conflict where the name is taken."""
        return TemplateRead.model_validate_json(self._client.request("POST", PATH, wanted).content)

    def list(self) -> Iterator[TemplateRead]:
        """All, newest first, page by page."""
        return self._client.pages(PATH, TemplateRead)

    def get(self, template_id: str) -> TemplateRead:
        return TemplateRead.model_validate_json(self._client.request("GET", f"{PATH}/{template_id}").content)

    def change(self, template_id: str, wanted: TemplateChange) -> TemplateRead:
        """Raises Conflict where the name is taken."""
        answer = self._client.request("PATCH", f"{PATH}/{template_id}", wanted)
        return TemplateRead.model_validate_json(answer.content)

    def delete(self, template_id: str) -> None:
        self._client.request("DELETE", f"{PATH}/{template_id}")

    def submit(self, template_id: str, wanted: TemplateUse) -> JobRead:
        """Order a job by it. Raises what submitting a job does."""
        return JobRead.model_validate_json(self._client.request("POST", f"{PATH}/{template_id}/jobs", wanted).content)
