"""How a slice that ordered a step hears of it, without the fleet knowing the slice."""

from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from app.fleet.tables import StepRow
from whetstone.contract.jobs import StepKind
from whetstone.contract.steps import Heartbeat, OutputFile, Task


class StepListener(Protocol):
    """Called within the transaction that changes the step. `hold` comes first and locks what the step is for, so
    that locks are always taken in the same order: subject, then step.
    """

    async def hold(self, session: AsyncSession, step: StepRow) -> None: ...

    async def started(self, session: AsyncSession, step: StepRow) -> None: ...

    async def brief(self, session: AsyncSession, step: StepRow) -> Task:
        """What the worker that has claimed the step is told to do."""
        ...

    async def told(self, session: AsyncSession, step: StepRow, beat: Heartbeat) -> None: ...

    async def retried(self, session: AsyncSession, step: StepRow) -> None: ...

    async def ended(self, session: AsyncSession, step: StepRow, outputs: tuple[OutputFile, ...]) -> None: ...


Listeners = dict[StepKind, StepListener]
