"""Written by `python -m scripts.async_client` from whetstone/usage.py: change that."""

from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from whetstone.contract.usage import BudgetRead, BudgetSet, Measure, StepUse, UsageRead
from whetstone.usage import BUDGET, PATH, _params

if TYPE_CHECKING:
    from whetstone.aio.client import AsyncClient


class Usage:
    """What was used, what it cost, and what the plan allows."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def get(self, since: date | None = None, until: date | None = None) -> UsageRead:
        """From `since` (the first of this month if left out) to the day before `until` (tomorrow), in UTC."""
        answer = await self._client.request("GET", PATH, params=_params(since, until))
        return UsageRead.model_validate_json(answer.content)

    async def export(self, path: str | Path, since: date | None = None, until: date | None = None) -> Path:
        """Write the days into a file as comma-separated values."""
        return await self._client.save(f"{PATH}/days.csv", Path(path), params=_params(since, until))

    def steps(self, subject_id: str | None = None) -> AsyncIterator[StepUse]:
        """Every step that was metered, newest first; of one job, model or dataset where its id is given."""
        params = {} if subject_id is None else {"subject_id": subject_id}
        return self._client.pages(f"{PATH}/steps", StepUse, **params)

    async def budget(self) -> BudgetRead:
        """Raises NotFound where none is set."""
        return BudgetRead.model_validate_json((await self._client.request("GET", BUDGET)).content)

    async def set_budget(
        self, measure: Measure, monthly: float, alert_at: tuple[float, ...] = (0.5, 0.8, 1.0)
    ) -> BudgetRead:
        """Have webhooks told (`budget.reached`) when a month takes these shares of it. Raises Invalid for money where
        the operator has set no prices.
        """
        body = BudgetSet(measure=measure, monthly=monthly, alert_at=alert_at)
        return BudgetRead.model_validate_json((await self._client.request("PUT", BUDGET, body)).content)

    async def remove_budget(self) -> None:
        await self._client.request("DELETE", BUDGET)
