"""How weights are learned: `finetune`, and what `prune` does between the stages of a schedule."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from whetstone.contract.augmentation import Augmentation
from whetstone.contract.losses import LabelLoss, LossTerm
from whetstone.contract.types import Contract, Count, Fraction, ModelRef


class OptimizerName(StrEnum):
    """`gd` makes one step per epoch, on the gradient of the whole train split."""

    GD = "gd"
    SGD = "sgd"
    ADAM = "adam"
    ADAMW = "adamw"


class EarlyStopping(Contract):
    """Stop when the validation loss has not improved by `min_delta` for `patience` epochs; keep the best weights."""

    patience: Annotated[int, Field(ge=1, le=1000)] = 3
    min_delta: Annotated[float, Field(ge=0)] = 0.0


class ConstantRate(Contract):
    kind: Literal["constant"] = "constant"


class CosineRate(Contract):
    """Fall to `final` times the learning rate along half a cosine (Loshchilov & Hutter 2017, without restarts)."""

    kind: Literal["cosine"] = "cosine"
    final: Fraction = 0.0


class StepRate(Contract):
    """Multiply by `factor` after every so many epochs."""

    kind: Literal["step"] = "step"
    every: Annotated[int, Field(ge=1, le=10_000)] = 10
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1


RateSchedule = Annotated[ConstantRate | CosineRate | StepRate, Field(discriminator="kind")]


class Mode(StrEnum):
    """Whether batch-norm uses, and learns, the statistics of the batch, or keeps those it has."""

    TRAIN = "train"
    FROZEN = "frozen"


class Precision(StrEnum):
    """`mixed` computes in bfloat16 where that is safe, with float32 weights; on CUDA devices only."""

    FLOAT32 = "float32"
    MIXED = "mixed"


class Learning(Contract):
    """How weights are learned: used by `finetune`, and by `prune` between the stages of its schedule.

    `loss` None is cross-entropy for labels that are class ids, binary cross-entropy where the model has a single
    output for labels 0 and 1, and the mean squared error for labels that are floating point. An optimizer step sees
    `batch_size` × `accumulate` samples; with `max_steps_per_epoch` an epoch ends after so many, whatever the dataset's
    size, and the next sees other samples. `momentum` and `nesterov` are for `sgd`. `weight_decay` is added to the
    gradient (`adamw` takes it from the weights instead), `l1_penalty` times the sign of matrices and kernels too;
    both before `clip_norm` limits its length. The rate rises linearly over the first `warmup_steps`. With
    `checkpoint_every` a retry goes on from the last multiple of so many steps, exactly as if nothing had happened.
    """

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 64
    accumulate: Annotated[int, Field(ge=1, le=10_000)] = 1
    max_steps_per_epoch: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    optimizer: OptimizerName = OptimizerName.ADAM
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    l1_penalty: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    schedule: RateSchedule = ConstantRate()
    warmup_steps: Count = 0
    loss: LabelLoss | None = None
    augment: Annotated[tuple[Augmentation, ...], Field(max_length=20)] = ()
    batch_norm: Mode = Mode.TRAIN
    dropout: bool = True
    precision: Precision = Precision.FLOAT32
    early_stopping: EarlyStopping | None = None
    checkpoint_every: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _goes_with_the_optimizer(self) -> Self:
        if self.momentum and self.optimizer is not OptimizerName.SGD:
            raise ValueError(f"momentum is for the optimizer sgd; {self.optimizer} has none")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        if self.optimizer is OptimizerName.GD and self.accumulate > 1:
            raise ValueError("gd already steps on the whole train split; leave accumulate at 1")
        return self


class MadeInputs(Contract):
    """How `finetune` makes its own inputs when the job has no dataset.

    Where the teacher has batch-norm, random inputs are changed for `steps` steps until they have its statistics (Yin
    et al. 2020); else they are random: uniform within [`low`, `high`] if given, standard normal if not.
    """

    samples: Annotated[int, Field(ge=2, le=100_000)] = 512
    steps: Annotated[int, Field(ge=0, le=10_000)] = 200
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high go together")
        if self.low is not None and self.high is not None and self.high <= self.low:
            raise ValueError(f"high ({self.high}) must be above low ({self.low})")
        return self


class Finetune(Learning):
    """Train the weights on the train split against labels, a teacher, or both.

    `losses` are weighted and added up; without them it is `loss` where there are labels, and what the teacher makes
    where there are none: its soft labels if it ends in a softmax, its outputs if not. The teacher is the job's original
    unless another of your models is named. The student is the graph that the recipe has got to, unless another model
    is named, or `width` makes it a copy of the teacher with this share of the channels, hidden units and heads of each
    layer, its largest: inputs and outputs must be the same. Without a dataset inputs are made up, at lower trust.

    After `quantize` to static int8 this is quantization-aware training: weights learn behind their integers, and with
    `learn_scales` so do the scales of weights and activations (best with `adam`). `hold_sparsity` keeps zero what is
    zero: None those of float weights, true also those of integers, of which rounding makes some, false none.

    A gradient is computed by `processes` processes, each on its share of the batch (and its own device, on GPU nodes).
    """

    kind: Literal["finetune"] = "finetune"
    losses: Annotated[tuple[LossTerm, ...], Field(max_length=50)] = ()
    teacher: ModelRef | None = None
    student: ModelRef | None = None
    width: Annotated[float, Field(gt=0, lt=1)] | None = None
    made_inputs: MadeInputs = MadeInputs()
    hold_sparsity: bool | None = None
    learn_scales: bool = False
    validation_fraction: Annotated[Fraction, Field(gt=0, le=0.5)] = 0.1
    processes: Annotated[int, Field(ge=1, le=64)] = 1

    @model_validator(mode="after")
    def _told_once(self) -> Self:
        if self.loss is not None and self.losses:
            raise ValueError("give either loss or losses")
        if self.student is not None and self.width is not None:
            raise ValueError("give either student or width")
        return self
