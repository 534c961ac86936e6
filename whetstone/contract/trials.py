"""What a search tries, and what it sees of it."""

from typing import Annotated

from pydantic import Field

from whetstone.contract.passes import Pass
from whetstone.contract.targets import AS_USUAL, RuntimeSettings, Target
from whetstone.contract.types import Bytes, Contract, Fraction, Milliseconds, Seconds


class Proposal(Contract):
    """One candidate. Without settings each target keeps those that have proven best there so far."""

    recipe: tuple[Pass, ...]
    settings: RuntimeSettings | None = None


class Score(Contract):
    """What was seen of a candidate on one target: brief, a guide and no proof.

    `lost` is in the unit of `max_drop`, and so are what it may be `at_most`, the upper end of its 95 % interval, and
    what is `allowed`; the ratios are against the original there. `full` is false after a look at a few samples that was
    enough to drop it.
    """

    lost: float
    at_most: float | None = None
    allowed: float
    speedup: float
    size_ratio: float
    memory_ratio: float | None = None
    latency_ms: Milliseconds
    size: Bytes
    full: bool = True


class Mark(Contract):
    """A score on one target, or why there is none."""

    target: Target
    settings: RuntimeSettings = AS_USUAL
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


class Remembered(Contract):
    """What a recipe did on one target for an earlier model of the tenant. `likeness` is that of the two models, 1 for
    the same.
    """

    recipe: tuple[Pass, ...]
    target: Target
    likeness: Fraction
    lost: float
    speedup: float
    size_ratio: float


class Interrupted(Contract):
    """The candidate in work, and how many attempts at the step were lost while they tried it, this one included."""

    proposal: Proposal
    times: Annotated[int, Field(ge=1)] = 1
