"""Written by `python -m scripts.async_client` from whetstone/templates.py: change that."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from whetstone.contract.jobs import JobRead
from whetstone.contract.templates import TemplateChange, TemplateCreate, TemplateRead, TemplateUse
from whetstone.templates import PATH

if TYPE_CHECKING:
    from whetstone.aio.client import AsyncClient


class Templates:
    """Orders that have a name, without model and data."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def create(self, wanted: TemplateCreate) -> TemplateRead:
        """Raises Conflict where the name is taken."""
        return TemplateRead.model_validate_json((await self._client.request("POST", PATH, wanted)).content)

    def list(self) -> AsyncIterator[TemplateRead]:
        """All, newest first, page by page."""
        return self._client.pages(PATH, TemplateRead)

    async def get(self, template_id: str) -> TemplateRead:
        return TemplateRead.model_validate_json((await self._client.request("GET", f"{PATH}/{template_id}")).content)

    async def change(self, template_id: str, wanted: TemplateChange) -> TemplateRead:
        """Raises Conflict where the name is taken."""
        answer = await self._client.request("PATCH", f"{PATH}/{template_id}", wanted)
        return TemplateRead.model_validate_json(answer.content)

    async def delete(self, template_id: str) -> None:
        await self._client.request("DELETE", f"{PATH}/{template_id}")

    async def submit(self, template_id: str, wanted: TemplateUse) -> JobRead:
        """Order a job by it. Raises what submitting a job does."""
        return JobRead.model_validate_json(
            (await self._client.request("POST", f"{PATH}/{template_id}/jobs", wanted)).content
        )
