"""Whether a delivered file is still the model, and what measurements are fed with."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.engine import models
from whetstone.contract.models import TensorFacts
from whetstone.contract.targets import Target
from workers.engine.data.errors import DatasetMismatch
from workers.engine.data.samples import Batch, open_dataset
from workers.engine.measure.conversion import ResultMismatch, tolerance_for, verify
from workers.engine.measure.feed import SYNTHETIC_SAMPLES, BatchFixed, Feed
from workers.engine.measure.fidelity import NotFinite, ShapesDiffer
from workers.engine.targets.runtime import Array

X = TensorFacts(name="x", dtype="float32", shape=("N", 3))


class Scaled:
    """A model that multiplies; batches of zeros come out as zeros."""

    def __init__(self, factor: float) -> None:
        self._factor = np.float32(factor)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": inputs["x"] * self._factor}


def batches(*scales: float) -> list[Batch]:
    return [Batch({"x": np.full((2, 3), scale, np.float32)}, None) for scale in scales]


def test_the_error_is_relative_to_the_usual_size_of_the_output() -> None:
    found = verify(Scaled(1), Scaled(1.01), batches(1, 1), 0.02)
    assert found.samples == 4
    assert found.max_relative_error == pytest.approx(0.01, rel=1e-3)
    assert found.max_abs_error == pytest.approx(0.01, rel=1e-3)


def test_an_output_near_zero_is_not_wrong_for_it() -> None:
    assert verify(Scaled(1), Scaled(1.0005), batches(1, 1e-9), 1e-3).max_relative_error < 1e-3


class WrongAtTwo:
    """A model that is right but for inputs of 2, where it answers with the opposite."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": np.where(inputs["x"] == 2, -inputs["x"], inputs["x"])}


def test_one_sample_of_many_that_came_out_wrong_is_a_mismatch_where_floats_are_rounded() -> None:
    with pytest.raises(ResultMismatch):
        verify(Scaled(1), WrongAtTwo(), batches(*[1.0] * 31, 2), 0.1)


def test_a_mismatch_names_the_output_and_both_numbers() -> None:
    with pytest.raises(ResultMismatch, match=r"output 'y' is off by 0\.5 of its size; 0\.001 is allowed"):
        verify(Scaled(1), Scaled(1.5), batches(1), 1e-3)


def test_something_where_nothing_should_be_is_a_mismatch() -> None:
    with pytest.raises(ResultMismatch):
        verify(Scaled(0), Scaled(1), batches(1), 1e-3)
    assert verify(Scaled(0), Scaled(0), batches(1), 1e-3).max_relative_error == 0


def test_what_is_no_number_is_a_mismatch() -> None:
    with pytest.raises(NotFinite):
        verify(Scaled(1), Scaled(np.nan), batches(1), 1e-3)


def test_other_shapes_are_a_mismatch() -> None:
    class Cut(Scaled):
        def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            return {"y": inputs["x"][:1]}

    with pytest.raises(ShapesDiffer):
        verify(Scaled(1), Cut(1), batches(1), 1e-3)


def test_the_tolerance_follows_the_precision(tmp_path: Path) -> None:
    plain = models.saved(models.random_mlp(), tmp_path / "plain.onnx")
    half = models.parsed("g (float16[N,3] x) => (float16[N,3] y) { y = Mul(x, w) }")
    half = models.saved(models.with_weights(half, w=np.ones(3, np.float16)), tmp_path / "half.onnx")
    body = """g (float[N,3] x) => (float[N,3] y) {
        q = QuantizeLinear(x, s, z)
        y = DequantizeLinear(q, s, z)
    }"""
    scale = {"s": np.array(0.1, np.float32), "z": np.array(0, np.uint8)}
    quantized = models.saved(models.with_weights(models.parsed(body), **scale), tmp_path / "q.onnx")
    order = [
        tolerance_for(Target.OPENVINO_CPU, plain),
        tolerance_for(Target.OPENVINO_CPU, half),
        tolerance_for(Target.OPENVINO_CPU_BF16, plain),
        tolerance_for(Target.OPENVINO_CPU, quantized),
    ]
    assert order == sorted(set(order))


def feed(folder: Path, batch_size: int = 2, inputs: tuple[TensorFacts, ...] = (X,), **arrays: Array) -> Feed:
    np.savez(folder / "data.npz", **arrays)  # type: ignore[arg-type]
    return Feed(inputs, batch_size, {}, open_dataset(folder / "data.npz", folder))


def test_the_test_split_is_fed_with_its_labels(tmp_path: Path) -> None:
    made = feed(tmp_path, x=np.ones((20, 3), np.float32), labels=np.zeros(20, np.int64))
    made.check()
    fed = list(made.batches())
    assert sum(batch.size for batch in fed) == made.count == 4
    assert all(batch.labels is not None for batch in fed)
    assert made.labels is not None
    assert len(made.labels) == 4


def test_without_a_test_split_nothing_is_said_of_accuracy(tmp_path: Path) -> None:
    arrays = {"train/x": np.ones((5, 3), np.float32), "train/labels": np.zeros(5, np.int64)}
    made = feed(tmp_path, **arrays)
    made.check()
    assert made.labels is None
    assert made.count == 5
    assert [batch.labels for batch in made.batches()] == [None] * 3


def test_without_a_dataset_random_inputs_are_made_alike_each_time() -> None:
    made = Feed((X,), 3, {}, None)
    made.check()
    first, second = ([batch.inputs["x"] for batch in made.batches()] for _ in range(2))
    assert np.array_equal(first, second)
    assert made.count == 3 * len(first) >= SYNTHETIC_SAMPLES


@pytest.mark.parametrize("fixed", [1, 4])
def test_another_batch_than_the_models_is_refused(fixed: int) -> None:
    with pytest.raises(BatchFixed, match=f"takes {fixed} samples at once, not 2"):
        Feed((X.model_copy(update={"shape": (fixed, 3)}),), 2, {}, None).check()


def test_a_dataset_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetMismatch):
        feed(tmp_path, x=np.ones((20, 4), np.float32)).check()
    with pytest.raises(DatasetMismatch, match="too few for one batch of 8"):
        feed(tmp_path, 8, x=np.ones((20, 3), np.float32)).check()
