"""What lists of models, datasets and jobs are filtered and sorted by, from the client's side."""

from datetime import datetime
from typing import TypedDict

from whetstone.contract.listing import Sort


class Filters(TypedDict, total=False):
    """All must hold.

    `label` is a selector as for Kubernetes (`team=vision,stage!=test`), `q` beginnings of words in the name. `kind` is
    that of a job's plan (`recipe`, `search`, `tune`), or the format of a model or dataset. Moments have a time zone.
    """

    label: str | None
    q: str | None
    state: str | None
    kind: str | None
    since: datetime | None
    until: datetime | None
    sort: Sort | None


def params(filters: Filters) -> dict[str, str]:
    told = ((name, value) for name, value in filters.items() if value is not None)
    return {name: value.isoformat() if isinstance(value, datetime) else str(value) for name, value in told}
