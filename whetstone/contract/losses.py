"""What a model is trained towards: terms that are weighted and added up."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from whetstone.contract.types import Contract, TensorName


class LabelLoss(StrEnum):
    """A loss against the labels: the first two for classes, the others for numbers."""

    CROSS_ENTROPY = "cross_entropy"
    BCE = "bce"
    MSE = "mse"
    L1 = "l1"
    HUBER = "huber"


class _Term(Contract):
    weight: Annotated[float, Field(gt=0, le=1e6)] = 1.0


class CrossEntropy(_Term):
    """Labels are class ids; `label_smoothing` spreads that share over all classes (Szegedy et al. 2016)."""

    kind: Literal[LabelLoss.CROSS_ENTROPY] = LabelLoss.CROSS_ENTROPY
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class BinaryCrossEntropy(_Term):
    """Labels are 0 or 1 per logit (or a probability between): yes-or-no models, and several labels at once."""

    kind: Literal[LabelLoss.BCE] = LabelLoss.BCE


class MeanSquaredError(_Term):
    """Labels are numbers."""

    kind: Literal[LabelLoss.MSE] = LabelLoss.MSE


class MeanAbsoluteError(_Term):
    """Labels are numbers, some of them far off."""

    kind: Literal[LabelLoss.L1] = LabelLoss.L1


class Huber(_Term):
    """Squared up to an error of `delta`, absolute beyond (Huber 1964)."""

    kind: Literal[LabelLoss.HUBER] = LabelLoss.HUBER
    delta: Annotated[float, Field(gt=0)] = 1.0


class SoftLabels(_Term):
    """T² · KL(teacher ‖ student) of the logits at temperature T (Hinton et al. 2015)."""

    kind: Literal["soft_labels"] = "soft_labels"
    temperature: Annotated[float, Field(gt=0, le=100)] = 2.0


class OutputError(_Term):
    """Mean squared error against the teacher's logits, or its output where that is no classification."""

    kind: Literal["output_error"] = "output_error"


class OutputCosine(_Term):
    """1 - cosine of the angle to the teacher's output, along the last axis: for embeddings."""

    kind: Literal["output_cosine"] = "output_cosine"


class Hint(_Term):
    """Mean squared error between a tensor inside the student and one of the same shape inside the teacher
    (Romero et al. 2015).
    """

    kind: Literal["hint"] = "hint"
    student: TensorName
    teacher: TensorName


class PseudoLabels(_Term):
    """Cross-entropy against the class the teacher thinks likeliest, of samples where it gives that a probability of at
    least `confidence`; the others count as no loss (Lee 2013; the threshold as in Sohn et al. 2020, equation 4).
    """

    kind: Literal["pseudo_labels"] = "pseudo_labels"
    confidence: Annotated[float, Field(ge=0, lt=1)] = 0.9


LabelTerm = CrossEntropy | BinaryCrossEntropy | MeanSquaredError | MeanAbsoluteError | Huber
TeacherTerm = SoftLabels | OutputError | OutputCosine | Hint | PseudoLabels
LossTerm = Annotated[LabelTerm | TeacherTerm, Field(discriminator="kind")]
