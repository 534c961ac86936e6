"""Learning again what a candidate lost, by successive halving: many for a short while, the best of them for longer.

Jamieson & Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, AISTATS 2016; the resource
is epochs. That a candidate is quick enough is known before anything is learned, so none learns in vain.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from whetstone.contract.learning import CosineRate, EarlyStopping, Finetune
from whetstone.contract.losses import CrossEntropy, LossTerm, SoftLabels
from whetstone.contract.quantization import Quantize
from workers.engine.search.board import Board, Recipe

SHORT = 4
"""How many learn at all: those that promise most."""

LONG = 2
"""How many of them learn on: those that lost least, by then."""

SHARE = 0.2
"""Of the whole time, what one may learn for in the end."""

MOST_EPOCHS = 30
RATE = 3e-4
QUANTIZED_RATE = 1e-4
WARMUP_STEPS = 20
BATCH = 32


@dataclass(frozen=True)
class Lessons:
    """What there is to learn from: the job's classes and its original, or the original alone; and the search's time."""

    classes: bool
    seconds: float


def recovered(board: Board, lessons: Lessons, lossy: Sequence[Recipe]) -> Iterator[Recipe]:
    """Recipes with learning at their end, for those that are quick but lost too much, the most promising first."""
    begun = []
    for recipe in lossy[:SHORT]:
        short = (*recipe, _lesson(recipe, lessons, 1))
        yield short
        if board.seen(short):
            begun.append((recipe, short))
    begun = [(recipe, short) for recipe, short in begun if board.lossy(short)]  # the others have learned enough
    begun.sort(key=lambda pair: min(score.lost for score in board.seen(pair[1])))
    for recipe, short in begun[:LONG]:
        trial = board.trial(short)
        took = trial.seconds if trial else lessons.seconds
        epochs = min(MOST_EPOCHS, int(SHARE * lessons.seconds / max(took, 0.1)))
        if epochs > 1:
            yield *recipe, _lesson(recipe, lessons, epochs)


def _lesson(recipe: Recipe, lessons: Lessons, epochs: int) -> Finetune:
    quantized = isinstance(recipe[-1], Quantize)
    both: tuple[LossTerm, ...] = (CrossEntropy(), SoftLabels())
    return Finetune(
        epochs=epochs,
        batch_size=BATCH,
        learning_rate=QUANTIZED_RATE if quantized else RATE,
        schedule=CosineRate(),
        warmup_steps=WARMUP_STEPS,
        losses=both if lessons.classes else (),
        learn_scales=quantized,
        early_stopping=EarlyStopping(patience=3),
    )
