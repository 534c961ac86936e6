"""What is told of a run of learning: per step, per epoch, at the end."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from whetstone.contract.reports import Curve


@dataclass(frozen=True)
class Epoch:
    """Mean losses of one epoch; `validation_accuracy` is a share, None where labels are no classes."""

    loss: float
    validation_loss: float
    validation_accuracy: float | None


@dataclass(frozen=True)
class Hooks:
    """What others do in the loop: `after_step` gets the number of steps done, `after_epoch` the share of work done.

    What they keep between steps `remember` gives, to be saved with the weights, and `recall` gets back, with the number
    of steps that were done, when an earlier attempt is gone on with.
    """

    after_step: Callable[[int], None] = lambda _: None
    after_epoch: Callable[[float, int, Epoch], None] = lambda _share, _number, _epoch: None
    remember: Callable[[], dict[str, Tensor]] = dict
    recall: Callable[[int, dict[str, Tensor]], None] = lambda _steps, _kept: None


@dataclass(frozen=True)
class Learned:
    """How it went, epoch by epoch; `best` is the epoch whose weights were kept, counted from 1.

    `resumed_at` is the number of steps that an earlier attempt had made.
    """

    epochs: tuple[Epoch, ...]
    steps: int
    best: int
    resumed_at: int = 0

    def curves(self) -> tuple[Curve, ...]:
        """Losses and accuracy per epoch."""
        x = tuple(float(number) for number in range(1, len(self.epochs) + 1))
        told: dict[str, list[float | None]] = {
            "training loss": [epoch.loss for epoch in self.epochs],
            "validation loss": [epoch.validation_loss for epoch in self.epochs],
            "validation accuracy": [epoch.validation_accuracy for epoch in self.epochs],
        }
        return tuple(
            Curve(name=name, x_label="epoch", y_label=name.split()[-1], x=x, y=tuple(y for y in ys if y is not None))
            for name, ys in told.items()
            if None not in ys
        )
