"""Which weights go: `prune`, its criteria, its amounts and its schedules."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from whetstone.contract.learning import Learning
from whetstone.contract.types import Contract, Count, LayerNames


class Granularity(StrEnum):
    """What goes at once: single weights; N of every M weights in a row; channels of convolutions and matrices and units
    of recurrent layers; or heads of attention. Only `channel` and `head` make the graph itself smaller, and faster.
    """

    ELEMENT = "element"
    N_M = "n_m"
    CHANNEL = "channel"
    HEAD = "head"


class Criterion(StrEnum):
    """How the importance of a weight, or of a unit by all of its weights, is told.

    `l1` and `l2` are norms. `taylor` is how much the loss would change to first order, |Σ gradient · weight| (Molchanov
    et al. 2019); it needs labels. `batch_norm` is the scale of the batch-norm behind a channel (Liu et al. 2017).
    """

    L1 = "l1"
    L2 = "l2"
    TAYLOR = "taylor"
    BATCH_NORM = "batch_norm"
    RANDOM = "random"


class Scope(StrEnum):
    """Where weights are compared: over the whole model, or each layer within itself."""

    GLOBAL = "global"
    LAYER = "layer"


class Normalization(StrEnum):
    """How scores are made comparable between layers: as they are; divided by the layer's mean; as LAMP, each over the
    sum of squares of those in its layer that are no smaller (Lee et al. 2021); or `equalized`: as if what makes a unit
    and what takes it in had been scaled to the same norm first (Nagel et al. 2019, section 4.1), then as `layer`.
    """

    NONE = "none"
    LAYER = "layer"
    LAMP = "lamp"
    EQUALIZED = "equalized"


class Measure(StrEnum):
    """What a goal is counted in. `latency` is that of onnxruntime on one CPU thread, timed while the pass runs."""

    MACS = "macs"
    PARAMETERS = "parameters"
    LATENCY = "latency"


class Goal(Contract):
    """Prune until at most this share of the model's cost is left, and no further."""

    of: Measure
    share: Annotated[float, Field(gt=0, lt=1)]


class OneShot(Contract):
    """Prune to the final sparsity at once."""

    kind: Literal["one_shot"] = "one_shot"


class Polynomial(Contract):
    """Raise the sparsity from `initial_sparsity` while learning (Zhu & Gupta 2017, equation 1, exponent 3).

    `begin_step`, `end_step` and `every` count optimizer steps; the pass learns until at least `end_step`. Channels and
    heads are silenced step by step and cut out at the end.
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
    """Take away the least important weights.

    Of single weights exactly `sparsity` (or 2 of 4, 4 of 8 in a row) become zero: smaller when compressed, faster on no
    current CPU. Channels and heads are really cut out: up to `sparsity` of them, or as few as reach the `goal`, so that
    of each layer at least `minimum` stay, in multiples of `round_to`: CPU kernels work on 8 or 16 channels at once, so
    that 17 may take as long as 32, and 16 pays where speed is what counts. What must stay, and why, is in the report.
    The weights behind a cut are then fitted again, by least squares on `calibration_samples` samples, and batch-norm
    statistics measured anew (`reconstruct`; None: where there is a dataset and no learning schedule).

    `normalization` None is `none` for single weights and `layer` for channels and heads. `sensitivity` scans every
    layer on its own first: how far the outputs move when 25, 50 and 75 % of it are gone.
    """

    kind: Literal["prune"] = "prune"
    granularity: Granularity = Granularity.ELEMENT
    sparsity: Annotated[float, Field(gt=0, lt=1)] | None = 0.5
    goal: Goal | None = None
    pattern: Literal["2:4", "4:8"] | None = None
    criterion: Criterion = Criterion.L1
    normalization: Normalization | None = None
    scope: Scope = Scope.GLOBAL
    exclude: LayerNames = ()
    round_to: Annotated[int, Field(ge=1, le=1024)] = 1
    minimum: Annotated[int, Field(ge=1, le=65_536)] = 1
    schedule: Annotated[OneShot | Polynomial, Field(discriminator="kind")] = OneShot()
    reconstruct: bool | None = None
    calibration_samples: Annotated[int, Field(ge=1, le=100_000)] = 128
    sensitivity: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        """With a goal there is no default sparsity; N:M is 2:4 unless told otherwise."""
        if not isinstance(given, dict):
            return given
        filled = dict(given)
        if given.get("goal") is not None:
            filled.setdefault("sparsity", None)
        if given.get("granularity") == Granularity.N_M and given.get("pattern") is None:
            filled["pattern"] = "2:4"
        return filled

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        if (self.sparsity is None) == (self.goal is None):
            raise ValueError("give either a sparsity or a goal")
        if isinstance(self.schedule, Polynomial) and self.schedule.initial_sparsity >= (self.sparsity or 1.0):
            raise ValueError("schedule.initial_sparsity must be below sparsity")
        return self

    @model_validator(mode="after")
    def _goes_with_the_granularity(self) -> Self:
        if self.granularity in {Granularity.CHANNEL, Granularity.HEAD}:
            self._refuse_for_units()
        else:
            self._refuse_for_weights()
        return self

    def _refuse_for_units(self) -> None:
        if self.pattern is not None:
            raise ValueError(f"pattern is for granularity n_m, not {self.granularity}")
        if self.criterion is Criterion.BATCH_NORM and self.granularity is Granularity.HEAD:
            raise ValueError("criterion batch_norm is for granularity channel: heads have no batch-norm")
        if self.normalization is Normalization.EQUALIZED and self.criterion not in {Criterion.L1, Criterion.L2}:
            raise ValueError("normalization equalized is for criterion l1 or l2")
        if self.reconstruct and isinstance(self.schedule, Polynomial):
            raise ValueError("reconstruct is for one_shot: a schedule that learns has already fitted the weights")

    def _refuse_for_weights(self) -> None:
        if self.goal is not None or self.reconstruct or self.round_to > 1 or self.minimum > 1:
            raise ValueError("goal, reconstruct, round_to and minimum are for granularity channel or head")
        if self.criterion is Criterion.BATCH_NORM or self.normalization is Normalization.EQUALIZED:
            raise ValueError("criterion batch_norm and normalization equalized are for granularity channel")
        if self.granularity is Granularity.ELEMENT and self.pattern is not None:
            raise ValueError("pattern is for granularity n_m; write granularity n_m or leave it out")
        if self.granularity is Granularity.N_M:
            self._refuse_for_patterns()

    def _refuse_for_patterns(self) -> None:
        if self.sparsity != 0.5:  # noqa: PLR2004 - what 2:4 and 4:8 are
            raise ValueError("n_m has a sparsity of 0.5 by its pattern; leave sparsity out")
        if self.normalization is not None or isinstance(self.schedule, Polynomial) or self.scope is Scope.LAYER:
            raise ValueError("n_m compares weights in a row at once: leave out normalization, scope and schedule")
