"""How many requests each tenant made on each day (UTC), counted in this process until they are written down."""

from collections import Counter
from datetime import UTC, date, datetime


class Tally:
    def __init__(self) -> None:
        self._counts: Counter[tuple[str, date]] = Counter()

    def add(self, tenant_id: str) -> None:
        self._counts[tenant_id, datetime.now(UTC).date()] += 1

    def take(self) -> list[tuple[str, date, int]]:
        """What was counted since the last time: tenant, day, requests."""
        taken, self._counts = self._counts, Counter()
        return [(tenant_id, day, count) for (tenant_id, day), count in taken.items()]

    def put_back(self, counts: list[tuple[str, date, int]]) -> None:
        for tenant_id, day, count in counts:
            self._counts[tenant_id, day] += count
