"""Distances between domains, against what they are by definition."""

import numpy as np
import pytest
import torch
from torch import Tensor

from workers.engine.training.alignment import WIDTHS, coral, features_of, mmd
from workers.engine.training.losses import sure_of


def drawn(count: int, seed: int, *, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) * scale + shift


def test_coral_is_the_distance_of_covariances() -> None:
    one, other = drawn(50, 0), drawn(40, 1, scale=2)
    apart = np.cov(one.numpy().T) - np.cov(other.numpy().T)
    assert float(coral(one, other)) == pytest.approx((apart**2).sum() / (4 * 9), rel=1e-4)
    assert float(coral(one, one + 5)) == pytest.approx(0, abs=1e-6)


def test_mmd_is_that_of_its_kernels() -> None:
    one, other = drawn(20, 0), drawn(30, 1, shift=1)
    both = np.concatenate([one, other]).astype(np.float64)
    squares = ((both[:, None] - both[None]) ** 2).sum(-1)
    kernel = np.mean([np.exp(-squares / (squares.mean() * width)) for width in WIDTHS], axis=0)
    expected = kernel[:20, :20].mean() + kernel[20:, 20:].mean() - 2 * kernel[:20, 20:].mean()
    assert float(mmd(one, other)) == pytest.approx(expected, rel=1e-4)
    assert float(mmd(one, one)) == pytest.approx(0, abs=1e-6)
    assert float(mmd(drawn(500, 2), drawn(500, 3))) < 0.05 * float(mmd(drawn(500, 2), drawn(500, 3, shift=1)))


def test_mmd_of_equal_samples_has_a_gradient() -> None:
    still = torch.zeros(4, 3, requires_grad=True)
    mmd(still, torch.zeros(4, 3)).backward()
    assert still.grad is not None
    assert torch.isfinite(still.grad).all()


def test_features_are_a_vector_per_sample() -> None:
    images, words = torch.randn(2, 5, 4, 4), torch.randn(2, 7, 5)
    assert torch.allclose(features_of(images), images.mean((2, 3)), atol=1e-6)
    assert torch.allclose(features_of(words), words.mean(1), atol=1e-6)
    assert features_of(torch.randn(2, 5)).shape == (2, 5)


def test_sureness_is_the_largest_probability() -> None:
    classes, sure = sure_of(torch.tensor([[0.0, 3.0], [0.1, 0.0]]), 0.9)
    assert classes.tolist() == [1, 0]
    assert sure.tolist() == [True, False]
