"""What it costs to train an ONNX graph instead of the PyTorch network that it came from.

One step is forward, cross-entropy, backward and AdamW, of the same network with the same weights on the same batch:
once natively in PyTorch, once by the engine's trainable graph of its ONNX export. The two take turns, who is first
too, and each pair of steps gives a ratio; printed is the median with its 95 % interval, the engine's time over
PyTorch's. One thread.

    python -m benchmarks.training_step [--quick]
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from examples.exporting import export
from examples.fashion import Block, conv
from whetstone.contract.reports import Estimate
from workers.engine.graph.graph import Graph
from workers.engine.graph.trainable import Trainable
from workers.engine.measure.statistics import median_interval

WARM_UP = 5
ALIKE = 1e-4
CLASSES = 10
Step = Callable[[], float]


def cnn() -> tuple[nn.Module, Tensor]:
    """A ResNet of 9 blocks, batch-norm and all, on 32 images of 32 × 32."""
    widths = [(16, 16, 1)] * 3 + [(16, 32, 2), (32, 32, 1), (32, 32, 1)] + [(32, 64, 2), (64, 64, 1), (64, 64, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES)]
    net = nn.Sequential(conv(3, 16), nn.ReLU(), *(Block(*sizes) for sizes in widths), *head)
    return net, torch.randn(32, 3, 32, 32)


class _Encoder(nn.Module):
    def __init__(self, size: int, layers: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(size, 4, 4 * size, 0.0, "gelu", batch_first=True)
        self.layers, self.head = (
            nn.TransformerEncoder(layer, layers, enable_nested_tensor=False),
            nn.Linear(size, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x).mean(1))  # type: ignore[no-any-return]


def transformer() -> tuple[nn.Module, Tensor]:
    """PyTorch's own encoder, 4 layers of width 128, on 16 sequences of 64 vectors."""
    return _Encoder(128, 4), torch.randn(16, 64, 128)


def exported(net: nn.Module, x: Tensor) -> Graph:
    with tempfile.TemporaryDirectory() as folder:
        path = export(net, [x], Path(folder) / "net.onnx", outputs=("y",), batch_norm_apart=True)
        return Graph(onnx.load(path))


def step_of(module: nn.Module, run: Callable[[], Tensor], labels: Tensor) -> Step:
    """Makes one step. Returns its seconds."""
    optimizer = torch.optim.AdamW(module.parameters(), 1e-4)

    def step() -> float:
        began = time.perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(run(), labels).backward()
        optimizer.step()
        return time.perf_counter() - began

    return step


def compare(net: nn.Module, x: Tensor, rounds: int) -> Estimate:
    """The ratio of the engine's step to PyTorch's. Raises if they do not compute the same."""
    labels = torch.randint(CLASSES, (len(x),))
    theirs = step_of(net.train(), lambda: net(x), labels)
    for _ in range(WARM_UP):  # also, so that no two tensors are equal: the exporter would store them once
        theirs()
    graph = Trainable(exported(net, x))
    with torch.no_grad():
        difference = float((net(x) - graph.eval()({"x": x})["y"]).abs().max())
    if difference > ALIKE:
        raise RuntimeError(f"the two differ by {difference:.2g}")
    net.train()
    ours = step_of(graph.train(), lambda: graph({"x": x})["y"], labels)
    for _ in range(WARM_UP):
        ours()
    ratios = []
    for number in range(rounds):
        if number % 2:
            mine, native = ours(), theirs()
        else:
            native, mine = theirs(), ours()
        ratios.append(mine / native)
    return median_interval(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    rounds = 40 if parser.parse_args().quick else 200
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {make.__name__: compare(*make(), rounds) for make in (cnn, transformer)}
    told = (f"{name}={each.value:.3f} [{each.low:.3f}, {each.high:.3f}]" for name, each in found.items())
    print("RESULT", *told, f"rounds={rounds}")


if __name__ == "__main__":
    main()
