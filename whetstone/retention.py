"""How long a tenant's things are kept, in the Python client."""

from typing import TYPE_CHECKING

from whetstone.contract.retention import RetentionPreview, RetentionRead, RetentionRules

if TYPE_CHECKING:
    from whetstone.client import Client

PATH = "/v1/retention"


class Retention:
    """For admins."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def get(self) -> RetentionRead:
        return RetentionRead.model_validate_json(self._client.request("GET", PATH).content)

    def set(self, rules: RetentionRules) -> RetentionRead:
        """Replace the rules; they are applied within the hour."""
        return RetentionRead.model_validate_json(self._client.request("PUT", PATH, rules).content)

    def preview(self, rules: RetentionRules) -> RetentionPreview:
        """What rules would delete now. Nothing is changed."""
        return RetentionPreview.model_validate_json(self._client.request("POST", f"{PATH}/preview", rules).content)
