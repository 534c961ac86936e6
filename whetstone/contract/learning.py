"""How weights are learned: `finetune`, and what `prune` does between the stages of a schedule."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from whetstone.contract.types import Contract, Fraction


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


class Finetune(Learning):
    """Train the weights against the labels of the train split. Weights that are zero stay zero if `hold_sparsity`."""

    kind: Literal["finetune"] = "finetune"
    hold_sparsity: bool = True
    validation_fraction: Annotated[Fraction, Field(gt=0, le=0.5)] = 0.1
