"""The tenant itself, in the Python client."""

from pathlib import Path
from typing import TYPE_CHECKING

from whetstone.contract.tenants import ClosingRead, ClosingRequest, SignedReceipt, TenantRead

if TYPE_CHECKING:
    from whetstone.client import Client

PATH = "/v1/tenant"
CLOSING = f"{PATH}/closing"


class Tenant:
    """What the caller's tenant is, all that it has, and the end of it."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def get(self) -> TenantRead:
        return TenantRead.model_validate_json(self._client.request("GET", PATH).content)

    def export(self, path: str | Path) -> Path:
        """Write everything the tenant has into a zip file: JSON Lines, and links to the files. For admins."""
        return self._client.save(f"{PATH}/export", Path(path))

    def close(self, name: str) -> ClosingRead:
        """Have the tenant deleted, with everything it has, at `due_at` of the answer. For owners. Raises Invalid where
        the name is another.
        """
        return ClosingRead.model_validate_json(self._client.request("POST", CLOSING, ClosingRequest(name=name)).content)

    def keep(self) -> None:
        """Call that off. Raises NotFound where nobody asked for it."""
        self._client.request("DELETE", CLOSING)

    def receipt(self, receipt_id: str) -> SignedReceipt:
        """That a tenant was deleted. Raises NotFound while it is not."""
        answer = self._client.request("GET", f"/v1/deletion-receipts/{receipt_id}")
        return SignedReceipt.model_validate_json(answer.content)
