"""The losses: what a term of the contract makes of two tensors. All are means over a batch."""

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from whetstone.contract.failures import FailureCode
from whetstone.contract.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Hint,
    Huber,
    LabelTerm,
    MeanAbsoluteError,
    MeanSquaredError,
    OutputCosine,
    OutputError,
    PseudoLabels,
    SoftLabels,
    TeacherTerm,
)
from workers.engine.data.errors import DatasetMismatch
from workers.engine.errors import EngineError

FEW_AXES = 3


class TeacherMismatch(EngineError):
    """What the teacher and the student make does not go together."""

    code = FailureCode.MODEL_MISMATCH
    hint = "Teacher and student must have the same inputs, and outputs (or hinted tensors) of the same shape."


@dataclass(frozen=True)
class Targets:
    """Labels of a batch. Where samples were mixed, `others` belong to what was mixed in, with 1 - `share`."""

    labels: Tensor
    others: Tensor | None = None
    share: float = 1.0

    def cut(self, where: slice) -> "Targets":
        """Those of some samples."""
        return Targets(self.labels[where], None if self.others is None else self.others[where], self.share)


def as_labels(values: Tensor) -> Tensor:
    """Class ids as int64, targets as float32."""
    return values.float() if values.is_floating_point() else values.to(torch.int64)


def classes_second(made: Tensor, labels: Tensor) -> Tensor:
    """Outputs as [N, classes, …], the layout of torch's cross-entropy, from [N, classes, …] or [N, …, classes]."""
    if made.shape[:-1] == labels.shape:
        made = made.movedim(-1, 1)
    elif made.shape[:1] + made.shape[2:] != labels.shape:
        raise DatasetMismatch(f"Labels of shape {list(labels.shape)} do not go with outputs of {list(made.shape)}.")
    if labels.is_floating_point():
        raise DatasetMismatch("Cross-entropy wants class ids; the labels are floating point.", hint="Use loss 'mse'.")
    classes, largest = made.shape[1], int(labels.max())
    if classes < 2 or largest >= classes:  # noqa: PLR2004 - a choice takes two
        raise DatasetMismatch(f"The labels go up to {largest}, but the model tells {classes} classes apart.")
    return made


def shaped_like(labels: Tensor, made: Tensor) -> Tensor:
    """Labels as numbers in the shape of the output. Raises DatasetMismatch."""
    if labels.numel() != made.numel():
        raise DatasetMismatch(f"Targets of shape {list(labels.shape)} do not go with outputs of {list(made.shape)}.")
    return labels.reshape(made.shape).to(made.dtype)


def _binary(made: Tensor, labels: Tensor) -> Tensor:
    wanted = shaped_like(labels, made)
    if wanted.min() < 0 or wanted.max() > 1:
        raise DatasetMismatch(
            "Binary cross-entropy wants labels of 0 and 1.", hint="Use loss 'cross_entropy' or 'mse'."
        )
    return F.binary_cross_entropy_with_logits(made, wanted)


def _of_labels(term: LabelTerm, made: Tensor, labels: Tensor) -> Tensor:
    match term:
        case CrossEntropy():
            return F.cross_entropy(classes_second(made, labels), labels, label_smoothing=term.label_smoothing)
        case BinaryCrossEntropy():
            return _binary(made, labels)
        case MeanSquaredError():
            return F.mse_loss(made, shaped_like(labels, made))
        case MeanAbsoluteError():
            return F.l1_loss(made, shaped_like(labels, made))
        case Huber():
            return F.huber_loss(made, shaped_like(labels, made), delta=term.delta)
        case _:
            assert_never(term)


def label_loss(term: LabelTerm, made: Tensor, targets: Targets) -> Tensor:
    """The loss against labels; for mixed samples that against both labels, by their shares (Zhang et al. 2018).

    For cross-entropy this is the loss against soft labels. Raises DatasetMismatch when labels do not go with the
    output.
    """
    loss = _of_labels(term, made, targets.labels)
    if targets.others is None:
        return loss
    return targets.share * loss + (1 - targets.share) * _of_labels(term, made, targets.others)


def class_axis(made: Tensor) -> int:
    """The last axis of [N, C] and [N, L, C]; the second of [N, C, H, W]."""
    return -1 if made.dim() <= FEW_AXES else 1


def _classes_along(made: Tensor) -> int:
    """The axis of the classes. Raises TeacherMismatch where there are none."""
    axis = class_axis(made)
    if made.dim() == 0 or made.shape[axis] < 2:  # noqa: PLR2004 - a choice takes two
        raise TeacherMismatch(
            f"Outputs of shape {list(made.shape)} tell no classes apart.", hint="Use the loss 'output_error'."
        )
    return axis


def sure_of(logits: Tensor, confidence: float) -> tuple[Tensor, Tensor]:
    """The likeliest classes, and whether each has a probability of at least `confidence`. Raises TeacherMismatch."""
    found = logits.softmax(_classes_along(logits)).max(_classes_along(logits))
    return found.indices, found.values >= confidence


def _pseudo_labels(made: Tensor, taught: Tensor, confidence: float) -> Tensor:
    classes, sure = sure_of(taught, confidence)
    losses = F.cross_entropy(made.movedim(class_axis(made), 1), classes, reduction="none")
    return (losses * sure).mean()


def _soft_labels(made: Tensor, taught: Tensor, temperature: float) -> Tensor:
    axis = _classes_along(made)
    student, teacher = (F.log_softmax(logits / temperature, axis) for logits in (made, taught))
    return F.kl_div(student, teacher, reduction="none", log_target=True).sum(axis).mean() * temperature**2


def teacher_loss(term: TeacherTerm, made: Tensor, taught: Tensor) -> Tensor:
    """The loss against what the teacher makes of the same inputs. Both are of one shape."""
    match term:
        case SoftLabels():
            return _soft_labels(made, taught, term.temperature)
        case OutputError() | Hint():
            return F.mse_loss(made, taught)
        case PseudoLabels():
            return _pseudo_labels(made, taught, term.confidence)
        case OutputCosine():
            return 1 - F.cosine_similarity(made, taught, dim=-1).mean()
        case _:
            assert_never(term)
