"""What pruning, learning and quantizing leave of networks trained on Fashion-MNIST (examples/fashion.py).

Each network goes through one recipe of the engine's passes: half of the channels cut and the rest fitted again,
learning from labels and from the original, int8, and learning in int8. After each pass: accuracy on the 10,000 test
images, size of the file, and speed against the original in onnxruntime, one thread, timed in turns in fresh processes.

    python -m benchmarks.fashion [--quick] [network ...]
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.parts.accuracy import accuracy
from examples import fashion
from whetstone.contract.augmentation import Flip
from whetstone.contract.datasets import Split
from whetstone.contract.jobs import Measurement
from whetstone.contract.learning import CosineRate, Finetune
from whetstone.contract.losses import CrossEntropy, SoftLabels
from whetstone.contract.passes import Pass
from whetstone.contract.pruning import Granularity, Prune, Scope
from whetstone.contract.quantization import Quantize
from whetstone.contract.targets import Target
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.graph.graph import Graph
from workers.engine.importers.detect import open_model
from workers.engine.measure.latency import Contest, measure
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.sequence import make

BATCHES = (1, 8, 32)
SECONDS = 20.0
LOSSES = (CrossEntropy(weight=0.5), SoftLabels(temperature=4, weight=0.5))
EPOCHS = {"mlp": 12, "cnn": 10, "resnet": 10}
QUICK = 6_000


def recipe(epochs: int) -> tuple[Pass, ...]:
    learning = Finetune(
        epochs=epochs,
        learning_rate=3e-3,
        schedule=CosineRate(),
        warmup_steps=200,
        clip_norm=1.0,
        losses=LOSSES,
        augment=(Flip(),),
    )
    again = learning.model_copy(update={"epochs": max(epochs // 4, 1), "learning_rate": 1e-4})
    pruning = Prune(granularity=Granularity.CHANNEL, sparsity=0.5, scope=Scope.LAYER)
    return pruning, learning, Quantize(only_faster=True), again


@dataclass(frozen=True)
class Stage:
    """What a model has come to after a pass: percent of the test images that are right; how many times as fast as the
    original it is, by batch size.
    """

    after: str
    accuracy: float
    size: int
    speedups: tuple[float, ...]
    seconds: float


def speedup(original: Path, result: Path, batch: int, data: Samples, seconds: float) -> float:
    inputs = next(data.batches(Split.TEST, batch)).inputs
    with tempfile.TemporaryDirectory(dir=result.parent) as scratch:
        contest = Contest(Target.ONNXRUNTIME_CPU, original, result, inputs)
        how = Measurement(threads=1, batch_size=batch, max_seconds=seconds)
        timing = measure(contest, how, Path(scratch), lambda _share, _speedup: None)
    if not timing.conditions.valid:
        print(f"  disturbed: {'; '.join(timing.conditions.invalid_because)}", flush=True)
    return timing.speedup.value


def stages(name: str, folder: Path, samples: int, epochs: int, seconds: float) -> list[Stage]:
    data = open_dataset(fashion.write(folder / "fashion.npz", samples), folder)
    started = time.monotonic()
    original = fashion.export(fashion.train(fashion.NETWORKS[name], samples), folder / "original.onnx")
    graph = open_model(original, folder)
    teacher = graph.copy()
    learner = Context(folder, threads=torch.get_num_threads(), model=lambda _role: teacher.copy())
    timer = replace(learner, threads=1, batch_size=BATCHES[-1])
    seen = [_stage("trained", original, original, data, started, seconds)]
    for number, config in enumerate(recipe(epochs)):
        started = time.monotonic()
        context = timer if isinstance(config, Quantize) else learner
        graph = make(config).apply(graph, data, context).graph
        seen.append(_stage(config.kind, original, _saved(graph, folder / f"{number}.onnx"), data, started, seconds))
    return seen


def _saved(graph: Graph, path: Path) -> Path:
    graph.save(path)
    return path


def _stage(after: str, original: Path, model: Path, data: Samples, started: float, seconds: float) -> Stage:
    spent = time.monotonic() - started
    ratios = (1.0,) * len(BATCHES)
    if model != original:
        ratios = tuple(speedup(original, model, batch, data, seconds) for batch in BATCHES)
    right = accuracy(open_model(model, model.parent), data)
    return Stage(after, right, model.stat().st_size, ratios, spent)


def show(name: str, seen: list[Stage]) -> None:
    table = Table("after", "accuracy", "lost (points)", "smaller", *(f"faster at {b}" for b in BATCHES), "took")
    for stage in seen:
        lost, smaller = seen[0].accuracy - stage.accuracy, seen[0].size / stage.size
        ratios = (f"{ratio:.2f}×" for ratio in stage.speedups)
        took = f"{stage.seconds:.0f} s"
        table.add_row(stage.after, f"{stage.accuracy:.2f} %", f"{lost:+.2f}", f"{smaller:.2f}×", *ratios, took)
    table.title = name
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} samples, a few epochs, short timings")
    parser.add_argument("networks", nargs="*", choices=[*fashion.NETWORKS, []], default=list(fashion.NETWORKS))
    given = parser.parse_args()
    if not fashion.is_there():
        print(f"There is no Fashion-MNIST in {fashion.FOLDER}: install the Debian package dataset-fashion-mnist.")
        return
    told = []
    for name in given.networks:
        samples, epochs, seconds = (QUICK, 3, 3.0) if given.quick else (60_000, EPOCHS[name], SECONDS)
        with tempfile.TemporaryDirectory(prefix="whetstone-") as folder:
            seen = stages(name, Path(folder), samples, epochs, seconds)
        show(name, seen)
        lost = [seen[0].accuracy - stage.accuracy for stage in seen]
        best = max(seen[-1].speedups)
        told.append(f"{name}_pruned={max(seen[2].speedups):.2f} {name}_pruned_lost={lost[2]:.2f}")
        told.append(f"{name}={best:.2f} {name}_smaller={seen[0].size / seen[-1].size:.2f} {name}_lost={lost[-1]:.2f}")
    print("RESULT", *told)


if __name__ == "__main__":
    main()
