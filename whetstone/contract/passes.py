"""The passes of a recipe: what each can be told, with ranges and defaults."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from whetstone.contract.types import Contract, Count, Fraction, TensorName

LayerNames = Annotated[tuple[TensorName, ...], Field(max_length=10_000)]


class Simplify(Contract):
    """Fold constants, fuse what can be fused, drop what is not used. Changes no result."""

    kind: Literal["simplify"] = "simplify"


class Criterion(StrEnum):
    """How the importance of a weight is told: its absolute value (L1) or its square (L2)."""

    L1 = "l1"
    L2 = "l2"


class Scope(StrEnum):
    """Where weights are compared: over the whole model, or each layer within itself."""

    GLOBAL = "global"
    LAYER = "layer"


class OptimizerName(StrEnum):
    SGD = "sgd"
    ADAM = "adam"
    ADAMW = "adamw"


class LabelLoss(StrEnum):
    """The loss against the labels: cross-entropy for classes, mean squared error for numbers."""

    CROSS_ENTROPY = "cross_entropy"
    MSE = "mse"


class EarlyStopping(Contract):
    """Stop when the validation loss has not improved by `min_delta` for `patience` epochs; keep the best weights."""

    patience: Annotated[int, Field(ge=1, le=1000)] = 3
    min_delta: Annotated[float, Field(ge=0)] = 0.0


class Learning(Contract):
    """How weights are learned: used by `finetune`, and by `prune` between the stages of its schedule."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 64
    optimizer: OptimizerName = OptimizerName.ADAM
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    loss: LabelLoss = LabelLoss.CROSS_ENTROPY
    early_stopping: EarlyStopping | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


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


class Activations(StrEnum):
    """When the range of an activation is found: at run time, or before from calibration data."""

    DYNAMIC = "dynamic"
    STATIC = "static"


class ActivationType(StrEnum):
    """The integer type of static activations. uint8 is the quicker one on CPUs, int8 what NVIDIA's parser takes."""

    UINT8 = "uint8"
    INT8 = "int8"


class Quantize(Contract):
    """8-bit integer weights and activations.

    `static` inserts QuantizeLinear/DequantizeLinear pairs with MinMax ranges from the calibration split (or from
    the train split where there is none); `dynamic` needs no data. Names in `exclude` stay in float.
    """

    kind: Literal["quantize"] = "quantize"
    activations: Activations = Activations.STATIC
    activation_type: ActivationType = ActivationType.UINT8
    per_channel: bool = True
    calibrator: Literal["minmax"] = "minmax"
    calibration_samples: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    exclude: LayerNames = ()


class Finetune(Learning):
    """Train the weights against the labels of the train split. Weights that are zero stay zero if `hold_sparsity`."""

    kind: Literal["finetune"] = "finetune"
    hold_sparsity: bool = True
    validation_fraction: Annotated[Fraction, Field(gt=0, le=0.5)] = 0.1


Pass = Annotated[Simplify | Prune | Quantize | Finetune, Field(discriminator="kind")]
