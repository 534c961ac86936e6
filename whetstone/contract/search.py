"""Instead of a recipe, a search for one: the service proposes, tries and measures until the limit is reached."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from whetstone.contract.types import Contract


class Limit(Contract):
    """When a search ends, whichever comes first. It always ends with the best it has found so far.

    `money` is what its time may cost, in the currency of the service, where prices are set. A candidate that is still
    being tried when the minutes are over gets a little more time, then it is given up.
    """

    minutes: Annotated[float, Field(gt=0, le=24 * 60)] = 5.0
    trials: Annotated[int, Field(ge=1, le=500)] = 40
    money: Annotated[float, Field(gt=0)] | None = None


class Search(Contract):
    """Find the recipe that serves the budget best, for each target on its own.

    Candidates are tried on the calibration split (or on the train split where there is none), cheap ones first, and
    timed briefly on the target; the best of each target is then proven like any result, on the test split.
    """

    kind: Literal["search"] = "search"
    limit: Limit = Limit()


class Ended(StrEnum):
    """Why a search ended: nothing was left to try, its limit of minutes or trials was reached, or it was told to."""

    EXHAUSTED = "exhausted"
    MINUTES = "minutes"
    TRIALS = "trials"
    REQUESTED = "requested"
