"""Written by `python -m scripts.async_client` from whetstone/tenants.py: change that."""

from pathlib import Path
from typing import TYPE_CHECKING

from whetstone.contract.tenants import ClosingRead, ClosingRequest, SignedReceipt, TenantRead
from whetstone.tenants import CLOSING, PATH

if TYPE_CHECKING:
    from whetstone.aio.client import AsyncClient


class Tenant:
    """What the caller's tenant is, all that it has, and the end of it."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def get(self) -> TenantRead:
        return TenantRead.model_validate_json((await self._client.request("GET", PATH)).content)

    async def export(self, path: str | Path) -> Path:
        """Write everything the tenant has into a zip file: JSON Lines, and links to the files. For admins."""
        return await self._client.save(f"{PATH}/export", Path(path))

    async def close(self, name: str) -> ClosingRead:
        """Have the tenant deleted, with everything it has, at `due_at` of the answer. For owners. Raises Invalid where
        the name is another.
        """
        return ClosingRead.model_validate_json(
            (await self._client.request("POST", CLOSING, ClosingRequest(name=name))).content
        )

    async def keep(self) -> None:
        """Call that off. Raises NotFound where nobody asked for it."""
        await self._client.request("DELETE", CLOSING)

    async def receipt(self, receipt_id: str) -> SignedReceipt:
        """That a tenant was deleted. Raises NotFound while it is not."""
        answer = await self._client.request("GET", f"/v1/deletion-receipts/{receipt_id}")
        return SignedReceipt.model_validate_json(answer.content)
