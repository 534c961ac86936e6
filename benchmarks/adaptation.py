"""What `adapt` gains on real shifts: a network taught on plain digits meets turned, faint and noisy ones, unlabelled.

Scikit-learn's digits at 28 × 28 and a CNN of three convolutions, exported with its batch-norms. Each seed teaches a
network anew; then each method gets the train split of the new domain without labels. Accuracies of onnxruntime on the
test split of the new domain. `self_distillation` follows `batch_norm`, as in a recipe of two passes.

    python -m benchmarks.adaptation [--quick]
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from scipy.ndimage import rotate, zoom
from sklearn.datasets import load_digits
from torch import nn

from benchmarks.parts.accuracy import accuracy
from examples.exporting import export
from whetstone.contract.adaptation import Adapt, BatchNormStatistics, Coral, Method, Mmd, SelfDistillation
from whetstone.contract.datasets import Split
from whetstone.contract.learning import Learning
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.data.splits import Part
from workers.engine.graph.graph import Graph
from workers.engine.passes.adapt import AdaptPass
from workers.engine.passes.errors import NothingToDo
from workers.engine.passes.graph_pass import Context

Images = NDArray[np.float32]
Shift = Callable[[Images, np.random.Generator], NDArray[np.floating]]

SOURCE = "dat_01h455vb4pex5vsknk084sn02q"
EPOCHS = 40
BATCH = 64
SHIFTS: dict[str, Shift] = {
    "turned": lambda x, _: rotate(x, 25, axes=(2, 3), reshape=False, order=1),
    "faint": lambda x, _: 0.3 * x + 0.6,
    "noisy": lambda x, random: x + random.normal(0, 0.15, x.shape),
}
LEARNING = Learning(epochs=5, batch_size=BATCH)
METHODS: dict[str, tuple[Method, ...]] = {
    "batch_norm": (BatchNormStatistics(),),
    "coral": (Coral(source=SOURCE, weight=10, learning=LEARNING),),
    "mmd": (Mmd(source=SOURCE, learning=LEARNING),),
    "self_distillation": (BatchNormStatistics(), SelfDistillation(confidence=0.6, learning=LEARNING)),
}


def digits(folder: Path) -> Samples:
    """Images [N, 1, 28, 28] of 0 to 1: three times as large, smoothly, with a margin of two."""
    found = load_digits()
    large = np.pad(zoom(found.images / 16, (1, 3, 3), order=1), ((0, 0), (2, 2), (2, 2)))
    np.savez(folder / "digits.npz", x=large[:, None].astype(np.float32), labels=found.target.astype(np.int64))
    return open_dataset(folder / "digits.npz", folder)


def shifted(data: Samples, shift: Shift) -> Samples:
    """The same digits as the new domain has them: to adapt to without labels, to test with."""
    random = np.random.default_rng(0)
    (train,), (test,) = data.batches(Split.TRAIN, 10_000), data.batches(Split.TEST, 10_000, with_labels=True)
    seen, held = ({"x": shift(np.asarray(b.inputs["x"]), random).astype(np.float32)} for b in (train, test))
    return Samples({Split.TRAIN: Part(seen, None), Split.TEST: Part(held, test.labels)}, made_splits=False)


def cnn() -> nn.Module:
    layers: list[nn.Module] = []
    for into, out, stride in ((1, 16, 2), (16, 32, 1), (32, 32, 2)):
        layers += [nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def taught(data: Samples, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    (batch,) = data.batches(Split.TRAIN, 10_000, with_labels=True)
    x, labels = torch.from_numpy(batch.inputs["x"]), torch.from_numpy(batch.required_labels)
    net = cnn()
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * -(-len(x) // BATCH))
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def adapted(graph: Graph, methods: tuple[Method, ...], domain: Samples, context: Context) -> Graph:
    """After these passes; one that finds nothing to learn from changes nothing."""
    for method in methods:
        try:
            graph = AdaptPass(Adapt(method=method)).apply(graph, domain, context).graph
        except NothingToDo as refused:
            print(f"{method.kind}: {refused}")
    return graph


def one_seed(data: Samples, domains: dict[str, Samples], folder: Path, seed: int) -> dict[tuple[str, str], float]:
    """Accuracies by shift and method; `before` is the network as it was."""
    trained = export(taught(data, seed), [torch.zeros(1, 1, 28, 28)], folder / "net.onnx", batch_norm_apart=True)
    graph = Graph(onnx.load(trained))
    context = Context(folder, threads=torch.get_num_threads(), source=lambda _: data)
    found = {}
    for shift, domain in domains.items():
        found[shift, "before"] = accuracy(graph, domain)
        for name, methods in METHODS.items():
            found[shift, name] = accuracy(adapted(graph, methods, domain, context), domain)
        told = ", ".join(f"{name} {found[shift, name]:.1f} %" for name in ("before", *METHODS))
        print(f"seed {seed}, {shift} (plain {accuracy(graph, data):.1f} %): {told}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two seeds")
    seeds = 2 if parser.parse_args().quick else 5
    with tempfile.TemporaryDirectory(prefix="whetstone-") as name:
        folder = Path(name)
        data = digits(folder)
        domains = {shift: shifted(data, change) for shift, change in SHIFTS.items()}
        runs = [one_seed(data, domains, folder, seed) for seed in range(1, seeds + 1)]
    for shift in SHIFTS:
        before = statistics.mean(run[shift, "before"] for run in runs)
        gains = {name: [run[shift, name] - run[shift, "before"] for run in runs] for name in METHODS}
        told = " ".join(f"{name}={statistics.mean(g):+.1f} {name}_worst={min(g):+.1f}" for name, g in gains.items())
        print(f"RESULT shift={shift} before={before:.1f} {told} seeds={seeds}")


if __name__ == "__main__":
    main()
