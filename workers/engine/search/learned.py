"""Learning again what a candidate lost, by successive halving: many for a short while, the best of them for longer.

Jamieson & Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, AISTATS 2016; the resource
is epochs. That a candidate is quick enough is known before anything is learned, so none learns in vain.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from whetstone.contract.augmentation import Augmentation
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

SHORT_SHARE = 0.05
"""Of the whole time, what the first epoch may take."""

MOST_STEPS, LEAST_STEPS = 2000, 20
PASSES = 3
"""What a sample costs to learn from, in runs of the model: forward, backward, and the teacher."""

MOST_EPOCHS = 30
RATE = 1e-3
QUANTIZED_RATE = 1e-4
WARMUP_STEPS = 20
BATCH = 32


@dataclass(frozen=True)
class Lessons:
    """What there is to learn from: the job's classes and its original, or the original alone; the search's time; and
    how many samples a timed call takes, and what is done to those that are learned from.
    """

    classes: bool
    seconds: float
    batch_size: int = 1
    augment: tuple[Augmentation, ...] = ()


def recovered(board: Board, lessons: Lessons, lossy: Sequence[Recipe]) -> Iterator[Recipe]:
    """Recipes with learning at their end, for those that are quick but lost too much, the most promising first."""
    begun = []
    for recipe in lossy[:SHORT]:
        short = (*recipe, _lesson(recipe, lessons, 1, _steps(board, recipe, lessons)))
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
            yield *recipe, _lesson(recipe, lessons, epochs, _steps(board, recipe, lessons))


def _steps(board: Board, recipe: Recipe, lessons: Lessons) -> int:
    """How many steps an epoch may have, by what a sample takes: else one lesson could use up all of the time."""
    sample = max((score.latency_ms * score.speedup for score in board.seen(recipe)), default=1.0) / lessons.batch_size
    steps = SHORT_SHARE * lessons.seconds / (PASSES * BATCH * sample / 1000)
    return round(min(max(steps, LEAST_STEPS), MOST_STEPS))


def _lesson(recipe: Recipe, lessons: Lessons, epochs: int, steps: int) -> Finetune:
    quantized = isinstance(recipe[-1], Quantize)
    both: tuple[LossTerm, ...] = (CrossEntropy(), SoftLabels())
    return Finetune(
        epochs=epochs,
        batch_size=BATCH,
        max_steps_per_epoch=steps,
        learning_rate=QUANTIZED_RATE if quantized else RATE,
        schedule=CosineRate(),
        warmup_steps=WARMUP_STEPS,
        clip_norm=1.0,
        losses=both if lessons.classes else (),
        augment=lessons.augment,
        learn_scales=quantized,
        early_stopping=EarlyStopping(patience=3),
    )
