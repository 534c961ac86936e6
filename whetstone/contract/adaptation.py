"""Moving a model to a new domain, of which there are samples but no labels: `adapt`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from whetstone.contract.learning import Learning
from whetstone.contract.types import Contract, DatasetRef, TensorName


class BatchNormStatistics(Contract):
    """Give every batch-norm the mean and variance that its input has in the new domain (Li et al. 2017, AdaBN).

    Nothing is learned, so it takes seconds; it needs batch-norms in the graph, which exporters like to fold into
    convolutions.
    """

    kind: Literal["batch_norm"] = "batch_norm"
    samples: Annotated[int, Field(ge=2, le=1_000_000)] = 1000


class _Alignment(Contract):
    """Learn on samples of the `source`, the domain the model comes from, while the values of a tensor inside it become
    distributed alike for both domains.

    `source` is a dataset of yours with the model's inputs. Its labels are learned from where it has some, else what the
    model itself makes of it. `tensor` None is what goes into the last layer with weights. Axes beside those of samples
    and channels are averaged over. `weight` is that of the alignment in the loss.
    """

    source: DatasetRef
    tensor: TensorName | None = None
    weight: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    learning: Learning = Learning()

    @model_validator(mode="after")
    def _has_batches(self) -> Self:
        if self.learning.batch_size < 2:  # noqa: PLR2004 - what a distribution takes
            raise ValueError("learning.batch_size must be 2 or more: distributions of a batch are compared")
        return self


class Coral(_Alignment):
    """Alike by covariance (Sun & Saenko 2016, equation 1)."""

    kind: Literal["coral"] = "coral"


class Mmd(_Alignment):
    """Alike by maximum mean discrepancy (Gretton et al. 2012), by Gaussian kernels of five widths."""

    kind: Literal["mmd"] = "mmd"


class SelfDistillation(Contract):
    """Learn from the classes that the model itself is sure of, with at least this `confidence` (Lee 2013).

    The teacher is the graph as this pass gets it, or its moving average with the student: after each step it keeps
    `average` of itself and takes the rest of the student (Tarvainen & Valpola 2017).
    """

    kind: Literal["self_distillation"] = "self_distillation"
    confidence: Annotated[float, Field(ge=0, lt=1)] = 0.9
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    learning: Learning = Learning()

    @model_validator(mode="after")
    def _without_labels(self) -> Self:
        if self.learning.loss is not None:
            raise ValueError("learning.loss is for labels; self_distillation learns without any")
        return self


Method = Annotated[BatchNormStatistics | Coral | Mmd | SelfDistillation, Field(discriminator="kind")]


class Adapt(Contract):
    """Move the model to the domain of the job's dataset: its train split holds samples of it, which need no labels.

    Judge the result with `budget.objective: accuracy`, for which the test split needs labels.
    """

    kind: Literal["adapt"] = "adapt"
    method: Method = BatchNormStatistics()
