"""What a search tries, and what it sees of it."""

from typing import Annotated

from pydantic import Field

from whetstone.contract.passes import Pass
from whetstone.contract.targets import Target
from whetstone.contract.types import Contract, Seconds


class Proposal(Contract):
    """One candidate."""

    recipe: tuple[Pass, ...]


class Score(Contract):
    """What was seen of a candidate on one target: brief, a guide and no proof.

    `lost` is in the unit of `max_drop`; the others are against the original there.
    """

    lost: float
    speedup: float
    size_ratio: float


class Mark(Contract):
    """A score on one target, or why there is none."""

    target: Target
    score: Score | None = None
    failed: str | None = None


class Trial(Contract):
    """A candidate and what became of it. `failed` where its passes could not be run at all; `crashed` where they, or
    a runtime, took the process with them.
    """

    proposal: Proposal
    marks: tuple[Mark, ...] = ()
    seconds: Seconds
    failed: str | None = None
    crashed: bool = False


class Interrupted(Contract):
    """The candidate in work, and how many attempts at the step were lost while they tried it, this one included."""

    proposal: Proposal
    times: Annotated[int, Field(ge=1)] = 1
