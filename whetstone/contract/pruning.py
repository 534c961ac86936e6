"""Which weights go: `prune`, its criteria and its schedules."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from whetstone.contract.learning import Learning
from whetstone.contract.types import Contract, Count, LayerNames


class Criterion(StrEnum):
    """How the importance of a weight is told: its absolute value (L1) or its square (L2)."""

    L1 = "l1"
    L2 = "l2"


class Scope(StrEnum):
    """Where weights are compared: over the whole model, or each layer within itself."""

    GLOBAL = "global"
    LAYER = "layer"


class OneShot(Contract):
    """Prune to the final sparsity at once."""

    kind: Literal["one_shot"] = "one_shot"


class Polynomial(Contract):
    """Raise the sparsity from `initial_sparsity` while learning (Zhu & Gupta 2017, equation 1, exponent 3).

    `begin_step`, `end_step` and `every` count optimizer steps; the pass learns until at least `end_step`.
    """

    kind: Literal["polynomial"] = "polynomial"
    initial_sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.0
    begin_step: Count = 0
    end_step: Annotated[int, Field(ge=1, le=10_000_000)] = 200
    every: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    learning: Learning = Learning()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end_step <= self.begin_step:
            raise ValueError(f"end_step ({self.end_step}) must come after begin_step ({self.begin_step})")
        return self


class Prune(Contract):
    """Set the least important weights to zero.

    Element sparsity makes a model smaller when compressed; it makes no current CPU runtime faster.
    """

    kind: Literal["prune"] = "prune"
    granularity: Literal["element"] = "element"
    sparsity: Annotated[float, Field(gt=0, lt=1)] = 0.5
    criterion: Criterion = Criterion.L1
    scope: Scope = Scope.GLOBAL
    exclude: LayerNames = ()
    schedule: Annotated[OneShot | Polynomial, Field(discriminator="kind")] = OneShot()

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if isinstance(self.schedule, Polynomial) and self.schedule.initial_sparsity >= self.sparsity:
            raise ValueError("schedule.initial_sparsity must be below sparsity")
        return self
