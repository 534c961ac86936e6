"""A trained network and its data: scikit-learn's digits at 28 × 28, and an MLP 784-128-10 that knows them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from tests.engine import models
from tests.engine.models import Array
from whetstone.contract.datasets import Split
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.graph.graph import Graph
from workers.engine.passes.graph_pass import Context


def enlarged(images: Array) -> Array:
    """Images [N, 8, 8] of 0-16 → [N, 1, 28, 28] of 0-1: each pixel three times, with a margin of two."""
    large = np.kron(images / 16, np.ones((1, 3, 3)))
    return np.pad(large, ((0, 0), (2, 2), (2, 2)))[:, None].astype(np.float32)


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .npz of 1,797 digits without splits."""
    digits = load_digits()
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, x=enlarged(digits.images), labels=digits.target.astype(np.int64))
    return path


@pytest.fixture(scope="session")
def digits(digits_file: Path) -> Samples:
    return open_dataset(digits_file, digits_file.parent)


def taught(net: nn.Module, digits: Samples, epochs: int) -> nn.Module:
    """Plain PyTorch, so that the engine's own loop is judged against a network that it did not make."""
    (batch,) = digits.batches(Split.TRAIN, 10_000, with_labels=True)
    x, labels = torch.from_numpy(batch.inputs["x"]), torch.from_numpy(batch.required_labels)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), labels[rows]).backward()
            optimizer.step()
    return net.eval()


@pytest.fixture(scope="session")
def trained(digits: Samples) -> Graph:
    """The MLP, about 96 % right on the test split. Copy before changing it."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    weights = taught(net, digits, epochs=12).parameters()
    return Graph(models.mlp([np.transpose(weight.detach().numpy()).copy() for weight in weights]))


@pytest.fixture(scope="session")
def trained_cnn(digits: Samples) -> Graph:
    """`models.small_resnet`, about 97 % right on the test split. Copy before changing it."""
    torch.manual_seed(0)
    return Graph(models.small_resnet(taught(models.SmallResNet(), digits, epochs=15)))


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(tmp_path, threads=1)
