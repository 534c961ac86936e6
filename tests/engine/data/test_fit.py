"""Datasets that go with a model, and random inputs in their place."""

from typing import Any

import numpy as np
import pytest

from whetstone.contract.datasets import DatasetFacts, FieldFacts
from whetstone.contract.models import TensorFacts
from workers.engine.data.errors import DatasetMismatch
from workers.engine.data.fit import check_fit, fixed_at_one
from workers.engine.data.synthesis import random_inputs

IMAGE = TensorFacts(name="x", dtype="float32", shape=("N", 3, None, 8))


def dataset(**fields: tuple[str, tuple[int, ...]]) -> DatasetFacts:
    told = tuple(FieldFacts(name=name, dtype=dtype, shape=shape) for name, (dtype, shape) in fields.items())
    made: dict[str, Any] = {"labels": None, "classes": None, "splits": {}, "made_splits": False, "samples": 1}
    return DatasetFacts(format="npz", fields=told, **made)


def test_fitting_dataset_passes() -> None:
    check_fit(dataset(x=("float32", (3, 5, 8))), (IMAGE,))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"y": ("float32", (3, 5, 8))}, "'x' is not in the dataset"),
        ({"x": ("float64", (3, 5, 8))}, "float64; the model takes float32"),
        ({"x": ("float32", (3, 8))}, r"samples of shape \[3, 8\]"),
        ({"x": ("float32", (1, 5, 8))}, "has 1 along axis 1; the model takes 3"),
        ({"x": ("float32", (3, 5, 8)), "z": ("float32", ())}, "'z' of the dataset is no input"),
    ],
)
def test_misfit_names_the_field(fields: dict[str, tuple[str, tuple[int, ...]]], told: str) -> None:
    with pytest.raises(DatasetMismatch, match=told):
        check_fit(dataset(**fields), (IMAGE,))


def test_fixed_batch() -> None:
    one, eight = (TensorFacts(name="x", dtype="float32", shape=(n, 4)) for n in (1, 8))
    check_fit(dataset(x=("float32", (4,))), (one,))
    assert fixed_at_one((one,))
    with pytest.raises(DatasetMismatch, match="exactly 8 samples"):
        check_fit(dataset(x=("float32", (4,))), (eight,))


def test_random_inputs_are_seeded_and_take_the_batch() -> None:
    made = random_inputs((IMAGE,), {"x": (1, 3, 6, 8)}, batch_size=4, seed=7)["x"]
    assert (made.shape, made.dtype) == ((4, 3, 6, 8), np.float32)
    assert (made == random_inputs((IMAGE,), {"x": (1, 3, 6, 8)}, batch_size=4, seed=7)["x"]).all()


@pytest.mark.parametrize(
    ("shape", "told"),
    [(None, "Axis 2 of input 'x' is dynamic"), ((1, 4, 6, 8), "fixed at 3, not 4"), ((1, 3), "has 4 axes")],
)
def test_random_inputs_need_known_axes(shape: tuple[int, ...] | None, told: str) -> None:
    with pytest.raises(DatasetMismatch, match=told):
        random_inputs((IMAGE,), {"x": shape} if shape else {})


def test_integer_inputs_need_a_dataset() -> None:
    with pytest.raises(DatasetMismatch, match="int64"):
        random_inputs((TensorFacts(name="ids", dtype="int64", shape=(1, 4)),))
