"""Which kinds of candidates a recipe belongs to, as presets name them."""

from typing import assert_never

from whetstone.contract.adaptation import Adapt
from whetstone.contract.factorization import Factorize
from whetstone.contract.learning import Finetune
from whetstone.contract.passes import Pass, Simplify
from whetstone.contract.presets import Family, Preset
from whetstone.contract.pruning import Granularity, Prune
from whetstone.contract.quantization import Quantize
from whetstone.contract.substitution import Substitute
from workers.engine.search.board import Recipe


def families_of(recipe: Recipe) -> set[Family]:
    return {family for config in recipe if (family := _family(config))}


def precedence(recipe: Recipe, preset: Preset) -> int:
    """0 for what the preset wants first; more for what comes later."""
    wanted = [place for place, family in enumerate(preset.first) if family in families_of(recipe)]
    return min(wanted, default=len(preset.first))


def _family(config: Pass) -> Family | None:
    match config:
        case Quantize():
            if config.in_integers:
                return Family.STATIC if config.is_static else Family.DYNAMIC
            return Family.STORAGE
        case Prune():
            return Family.HEADS if config.granularity is Granularity.HEAD else Family.CHANNELS
        case Factorize():
            return Family.FACTORS
        case Simplify() | Substitute() | Finetune() | Adapt():
            return None
        case _:
            assert_never(config)
