"""Operators in the place of others: which rules gain on which target, and what they add to its best candidate."""

from collections.abc import Iterator

from whetstone.contract.learning import Finetune
from whetstone.contract.quantization import Quantize
from whetstone.contract.substitution import Rule, Substitute
from whetstone.contract.targets import Target
from whetstone.contract.trials import Proposal, Score
from workers.engine.passes.substitute import rules_for
from workers.engine.search.board import Board, Recipe
from workers.engine.search.known import Known

LEAST_GAIN = 1.01
"""Times as fast as without the rule, from which on it is kept."""

LESS = 0.75
"""Of the loss without the rule, up to which it is kept."""


def substitutions(known: Known) -> Iterator[Recipe]:
    """Each rule that finds a place, alone; then for each target those together that gain on it."""
    for rule in rules_for(known.begun):
        yield _with(known, (rule,))
    for target in known.board.targets:
        rules = _gaining(known, target)
        if len(rules) > 1:
            yield _with(known, rules)


def finished(known: Known) -> Iterator[Recipe]:
    """The best candidate of each target, if it does without, with the rules that gain there."""
    for target in known.board.targets:
        best, rules = known.board.best(target), _gaining(known, target)
        if best is not None and rules and (recipe := _inserted(best.recipe, Substitute(rules=rules))):
            yield recipe


def _with(known: Known, rules: tuple[Rule, ...]) -> Recipe:
    return *known.start, Substitute(rules=rules)


def _gaining(known: Known, target: Target) -> tuple[Rule, ...]:
    """Those that by themselves made what every recipe begins with faster on this target, or took from its loss where
    that was too much.
    """
    before = _score(known.board, target, known.start)

    def gains(rule: Rule) -> bool:
        after = _score(known.board, target, _with(known, (rule,)))
        if after is None or before is None:
            return after is not None and after.speedup > LEAST_GAIN
        saves = before.lost > before.allowed and after.lost < LESS * before.lost
        return saves or after.speedup > LEAST_GAIN * before.speedup

    return tuple(filter(gains, Rule))


def _score(board: Board, target: Target, recipe: Recipe) -> Score | None:
    return board.scores(target).get(Proposal(recipe=recipe))


def _inserted(recipe: Recipe, config: Substitute) -> Recipe | None:
    """Before what is quantized, since rules know layers in float. None where it has one, or would be learned anew."""
    place = next((index for index, each in enumerate(recipe) if isinstance(each, Quantize)), len(recipe))
    taken = any(isinstance(each, Substitute) for each in recipe) or any(
        isinstance(each, Finetune) for each in recipe[place:]
    )
    return None if taken else (*recipe[:place], config, *recipe[place:])
