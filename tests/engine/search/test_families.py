"""What a preset tries first, leaves out, and begins with."""

import pytest

from tests.engine.search.test_space import nothing_helps, recipes
from whetstone.contract.presets import GENERAL, PRESETS, Domain, Family
from whetstone.contract.quantization import Calibrator, Quantize
from workers.engine.search.families import families_of
from workers.engine.search.known import START


@pytest.mark.parametrize("family", [Family.STATIC, Family.DYNAMIC, Family.CHANNELS, Family.FACTORS, Family.STORAGE])
def test_a_family_is_left_out(family: Family) -> None:
    assert any(family in families_of(recipe) for recipe in recipes(nothing_helps))
    without = GENERAL.model_copy(update={"without": (family,)})
    left = recipes(nothing_helps, preset=without)
    assert len(left) > 1
    assert not any(family in families_of(recipe) for recipe in left)


@pytest.mark.parametrize("family", [Family.STATIC, Family.DYNAMIC])
def test_a_family_is_tried_first(family: Family) -> None:
    found = recipes(nothing_helps, preset=GENERAL.model_copy(update={"first": (family,)}))
    assert families_of(found[1]) == {family}
    assert set(found) == set(recipes(nothing_helps))


def test_static_candidates_begin_with_the_calibrator_of_the_preset() -> None:
    found = recipes(lambda recipe: (2.0, 2.0) if len(recipe) > 1 else (0.0, 1.0), preset=PRESETS[Domain.AUDIO])
    static = [config for recipe in found for config in recipe if isinstance(config, Quantize) and config.is_static]
    assert found[1] == (*START, Quantize(calibrator=Calibrator.PERCENTILE))
    assert {config.calibrator for config in static} == set(Calibrator) - {Calibrator.MOVING_AVERAGE}
