"""Written by `python -m scripts.async_client` from whetstone/retention.py: change that."""

from typing import TYPE_CHECKING

from whetstone.contract.retention import RetentionPreview, RetentionRead, RetentionRules
from whetstone.retention import PATH

if TYPE_CHECKING:
    from whetstone.aio.client import AsyncClient


class Retention:
    """For admins."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def get(self) -> RetentionRead:
        return RetentionRead.model_validate_json((await self._client.request("GET", PATH)).content)

    async def set(self, rules: RetentionRules) -> RetentionRead:
        """Replace the rules; they are applied within the hour."""
        return RetentionRead.model_validate_json((await self._client.request("PUT", PATH, rules)).content)

    async def preview(self, rules: RetentionRules) -> RetentionPreview:
        """What rules would delete now. Nothing is changed."""
        return RetentionPreview.model_validate_json(
            (await self._client.request("POST", f"{PATH}/preview", rules)).content
        )
