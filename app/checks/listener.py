"""Hears of the steps of checks."""

from typing import cast

from sqlalchemy.ext.asyncio import AsyncSession

from app.checks.service import conclude
from app.checks.tables import CheckRow
from app.fleet.tables import StepRow
from whetstone.contract.checks import CheckState
from whetstone.contract.steps import Heartbeat, OutputFile, Task


class CheckListener:
    async def hold(self, session: AsyncSession, step: StepRow) -> None:
        await self._held(session, step)

    async def started(self, session: AsyncSession, step: StepRow) -> None:
        row = await self._held(session, step)
        if row.state == CheckState.QUEUED:
            row.state = CheckState.RUNNING

    async def brief(self, session: AsyncSession, step: StepRow) -> Task:  # noqa: ARG002 - all is in the step
        return cast("Task", step.task)

    async def told(self, session: AsyncSession, step: StepRow, beat: Heartbeat) -> None:
        pass

    async def retried(self, session: AsyncSession, step: StepRow) -> None:
        pass

    async def ended(self, session: AsyncSession, step: StepRow, outputs: tuple[OutputFile, ...]) -> None:  # noqa: ARG002 - a check makes no files
        await conclude(session, await self._held(session, step))

    async def _held(self, session: AsyncSession, step: StepRow) -> CheckRow:
        """Reached by the step's signed token; the tenant is confined by it."""
        return await session.get_one(CheckRow, step.subject_id, with_for_update=True)
