"""The shapes that an engine must take, from what the model leaves free and what the samples have."""

from dataclasses import replace

from whetstone.contract.models import TensorFacts
from whetstone.contract.reports import ShapeRange
from workers.engine.measure.feed import Feed
from workers.engine.targets.shape_ranges import ranges_of

IMAGE = TensorFacts(name="x", dtype="float32", shape=("batch", 1, "h", "w"))
FREE = Feed((IMAGE,), 8, {"x": (8, 1, 28, 20)}, None)


def test_a_free_batch_goes_from_one_and_other_axes_are_those_of_the_samples() -> None:
    assert ranges_of(FREE) == (ShapeRange(input="x", least=(1, 1, 28, 20), usual=(8, 1, 28, 20), most=(32, 1, 28, 20)),)


def test_a_batch_larger_than_usual_is_the_largest() -> None:
    (found,) = ranges_of(replace(FREE, batch_size=64))
    assert (found.least[0], found.usual[0], found.most[0]) == (1, 64, 64)


def test_a_fixed_batch_stays() -> None:
    fixed = TensorFacts(name="x", dtype="float32", shape=(4, 3))
    (found,) = ranges_of(Feed((fixed,), 4, {}, None))
    assert found.least == found.usual == found.most == (4, 3)
