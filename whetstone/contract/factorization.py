"""Large matrices as products of thin ones: `factorize`."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from whetstone.contract.pruning import Goal
from whetstone.contract.types import Contract, LayerNames


class Spatial(StrEnum):
    """How a k × k convolution is split: into k × k to a few channels and 1 × 1 back (`channel`), into k × 1 and 1 × k
    (`separable`, Jaderberg et al. 2014), or into 1 × 1, a small k × k, and 1 × 1 (`tucker`, Kim et al. 2016).
    """

    CHANNEL = "channel"
    SEPARABLE = "separable"
    TUCKER = "tucker"


class Factorize(Contract):
    """Replace matrices and convolutions by thin ones, by truncated SVD, where that takes fewer multiplications.

    The rank keeps `energy` of a weight's squared singular values; or the energy is the largest that reaches the
    `goal`: a share of the work, of the parameters or of the time. Ranks are raised to multiples of `round_to`. Layers
    in `exclude` stay; a weight that several layers share is split once.
    """

    kind: Literal["factorize"] = "factorize"
    energy: Annotated[float, Field(gt=0, lt=1)] | None = 0.95
    goal: Goal | None = None
    spatial: Spatial = Spatial.CHANNEL
    round_to: Annotated[int, Field(ge=1, le=1024)] = 1
    exclude: LayerNames = ()

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        """With a goal there is no default energy."""
        if isinstance(given, dict) and given.get("goal") is not None:
            return {"energy": None, **given}
        return given

    @model_validator(mode="after")
    def _one_rank(self) -> Self:
        if (self.energy is None) == (self.goal is None):
            raise ValueError("give either an energy or a goal")
        return self
