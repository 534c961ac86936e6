"""What a teacher adds: a student of half the width, distilled from its teacher, against the same on labels alone.

Scikit-learn's digits at 28 × 28: the student gets 100 samples of the train split, the teacher had all of it. Two
students: one with random weights (`new`), and one that `finetune` makes by cutting half of the teacher's channels
(`cut`, `width: 0.5`). Same student, samples, epochs, optimizer and seeds on both sides, through the `finetune` pass,
and no augmentation, which helps neither here; accuracies of onnxruntime on the test split. The gain is the median over
seeds with its 95 % interval (the range, below six seeds); `beats` says whether it is a point or more.

    python -m benchmarks.distillation [--quick]
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from benchmarks.parts.accuracy import accuracy
from examples.digits import digits
from whetstone.contract.augmentation import Crop, Rotate
from whetstone.contract.datasets import Split
from whetstone.contract.learning import CosineRate, Finetune
from whetstone.contract.losses import CrossEntropy, LossTerm, SoftLabels
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.data.splits import Part
from workers.engine.graph.graph import Graph
from workers.engine.measure.statistics import median_interval
from workers.engine.passes.finetune import FinetunePass
from workers.engine.passes.graph_pass import Context

Floats = NDArray[np.float32]

WIDTH = 32
SAMPLES = 100
EPOCHS = 60
POINT = 1.0
MATRIX_RANK = 2
TURNED = (Crop(scale=0.6), Rotate(degrees=12))
SIDES: dict[str, tuple[LossTerm, ...]] = {
    "labels": (CrossEntropy(),),
    "distilled": (SoftLabels(temperature=4),),
}
Reached = dict[tuple[str, str], float]
"""Percent of the test split, by student and side."""


def dataset(folder: Path) -> Samples:
    images, labels = digits()
    np.savez(folder / "digits.npz", x=images, labels=labels)
    return open_dataset(folder / "digits.npz", folder)


def cnn(width: int, seed: int) -> Graph:
    """Two convolutions and a linear layer, x [N, 1, 28, 28] → logits [N, 10], with random weights."""
    generator = np.random.default_rng(seed)
    shapes = {"k1": (width, 1, 3, 3), "k2": (2 * width, width, 3, 3), "w": (2 * width * 49, 10)}
    weights = {
        n: (generator.standard_normal(s) * np.sqrt(2 / _inputs(s))).astype(np.float32) for n, s in shapes.items()
    }
    weights |= {f"b{i}": np.zeros(size, np.float32) for i, size in enumerate((width, 2 * width, 10), 1)}
    nodes = [*_block("x", 1), *_block("p1", 2), helper.make_node("Flatten", ["p2"], ["flat"])]
    nodes.append(helper.make_node("Gemm", ["flat", "w", "b3"], ["logits"], "linear"))
    return Graph(_model(nodes, weights))


def _inputs(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[1:])) if len(shape) > MATRIX_RANK else shape[0]


def _block(given: str, number: int) -> list[object]:
    names = [f"{kind}{number}" for kind in ("c", "r", "p")]
    conv = helper.make_node(
        "Conv", [given, f"k{number}", f"b{number}"], [names[0]], kernel_shape=[3, 3], pads=[1, 1, 1, 1]
    )
    pool = helper.make_node("MaxPool", [names[1]], [names[2]], kernel_shape=[2, 2], strides=[2, 2])
    return [conv, helper.make_node("Relu", [names[0]], [names[1]]), pool]


def _model(nodes: list[object], weights: dict[str, Floats]) -> ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 28, 28])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "cnn", [x], [logits], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def few(data: Samples, seed: int) -> Samples:
    """A part of the train split, drawn anew for each seed."""
    rows = np.sort(np.random.default_rng(seed).permutation(data.count(Split.TRAIN))[:SAMPLES])
    (batch,) = data.batches(Split.TRAIN, SAMPLES, with_labels=True, within=rows)
    return Samples({Split.TRAIN: Part(batch.inputs, batch.labels)}, made_splits=False)


def one_seed(teacher: Graph, data: Samples, folder: Path, seed: int) -> Reached:
    context = Context(folder, threads=torch.get_num_threads(), model=lambda _: teacher.copy())
    samples, found = few(data, seed), Reached()
    for student, start, width in (("new", cnn(WIDTH // 2, seed), None), ("cut", teacher, 0.5)):
        for side, losses in SIDES.items():
            config = Finetune(
                epochs=EPOCHS, losses=losses, schedule=CosineRate(), batch_size=32, seed=seed, width=width
            )
            found[student, side] = accuracy(FinetunePass(config).apply(start, samples, context).graph, data)
    told = (f"{student} on {side} {value:.1f} %" for (student, side), value in found.items())
    print(f"seed {seed}: {', '.join(told)}", flush=True)
    return found


def told(student: str, runs: list[Reached]) -> str:
    """The figures of one student."""
    gain = median_interval([run[student, "distilled"] - run[student, "labels"] for run in runs])
    means = {side: statistics.mean(run[student, side] for run in runs) for side in SIDES}
    sides = " ".join(f"{student}_{side}={mean:.2f}" for side, mean in means.items())
    beats = "yes" if gain.value >= POINT else "no"
    return f"{student}_gain={gain.value:.2f} [{gain.low:.2f}, {gain.high:.2f}] {sides} {student}_beats={beats}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two seeds")
    seeds = 2 if parser.parse_args().quick else 10
    with tempfile.TemporaryDirectory(prefix="whetstone-") as name:
        folder = Path(name)
        data = dataset(folder)
        context = Context(folder, threads=torch.get_num_threads())
        teacher = FinetunePass(Finetune(epochs=12, augment=TURNED)).apply(cnn(WIDTH, 0), data, context).graph
        print(f"teacher: {accuracy(teacher, data):.1f} %", flush=True)
        runs = [one_seed(teacher, data, folder, seed) for seed in range(1, seeds + 1)]
    print("RESULT", told("new", runs), told("cut", runs), f"seeds={seeds}")


if __name__ == "__main__":
    main()
