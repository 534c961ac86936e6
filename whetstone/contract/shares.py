"""Links to a report, for those who have no account."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from whetstone.contract.types import Contract, Count, JobRef, ShareRef, UserRef


class ShareCreate(Contract):
    """How long the link leads to the report, and a word on whom it is for."""

    expires_in_days: Annotated[int, Field(ge=1, le=365)] = 30
    note: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""


class ShareRead(Contract):
    """A link, without the secret that it ends with. `user_id` made it."""

    id: ShareRef
    job_id: JobRef
    user_id: UserRef
    note: str
    views: Count
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_viewed_at: datetime | None


class ShareCreated(ShareRead):
    """A link just made; `url` is shown this once."""

    url: str
