"""Inputs made up where there are none: with the batch-norm statistics of the teacher, or plainly random.

Yin et al. 2020 (DeepInversion), equation 4: random inputs are changed until the inputs of every batch-norm have the
mean and variance that it remembers of the data it was trained on. Their priors on images are left out, as inputs may
be anything.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from whetstone.contract.datasets import Split
from whetstone.contract.learning import MadeInputs
from workers.engine.data.archive import Array
from workers.engine.data.fit import fixed_at_one
from workers.engine.data.samples import Samples
from workers.engine.data.splits import Part
from workers.engine.data.synthesis import random_inputs
from workers.engine.graph.graph import Graph
from workers.engine.graph.trainable import NotTrainable, Trainable

BATCH = 64
RATE = 0.1
LOWER_TRUST = "These inputs are made up, not measured: trust the result less than one learned from real samples."

Tell = Callable[[float], None]


@dataclass(frozen=True)
class _Remembered:
    """What one batch-norm remembers of its inputs, per channel."""

    tensor: str
    mean: Tensor
    var: Tensor

    def distance(self, made: Tensor) -> Tensor:
        """‖mean - remembered‖ + ‖variance - remembered‖ of a batch [N, C, …]."""
        axes = [axis for axis in range(made.dim()) if axis != 1]
        var, mean = torch.var_mean(made, axes, correction=0)
        found: Tensor = (mean - self.mean).norm() + (var - self.var).norm()
        return found


@dataclass(frozen=True)
class Made:
    """Samples with a train split only, and how they came to be, in sentences."""

    samples: Samples
    notes: tuple[str, ...]


def _memories(graph: Graph) -> tuple[_Remembered, ...]:
    found = []
    for node in graph.nodes:
        sources = [graph.source(name) for name in node.input[3:5]] if node.op_type == "BatchNormalization" else []
        if sources and None not in sources and graph.producer(node.input[0]) is not None:
            mean, var = (torch.from_numpy(graph.weight(name or "").astype(np.float32)) for name in sources)
            found.append(_Remembered(node.input[0], mean, var))
    return tuple(found)


class _Matcher:
    """Changes random inputs until they look to the batch-norms like the data."""

    def __init__(self, graph: Graph, memories: tuple[_Remembered, ...], config: MadeInputs) -> None:
        self._memories, self._config = memories, config
        self._module = Trainable(graph, [memory.tensor for memory in memories]).eval()
        self._module.requires_grad_(requires_grad=False)

    def _distance(self, inputs: dict[str, Tensor]) -> Tensor:
        made = self._module(inputs)
        parts = [memory.distance(made[memory.tensor]) for memory in self._memories]
        return torch.stack(parts).sum()

    def match(self, arrays: dict[str, Array]) -> tuple[dict[str, Array], float, float]:
        """The changed inputs, and the distance before and after."""
        inputs = {name: torch.from_numpy(array).requires_grad_() for name, array in arrays.items()}
        optimizer = torch.optim.Adam(inputs.values(), RATE)
        first = last = float(self._distance(inputs).detach())
        for _ in range(self._config.steps):
            optimizer.zero_grad()
            distance = self._distance(inputs)
            distance.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            self._stay_in_range(inputs)
            last = float(distance.detach())
        return {name: value.detach().numpy() for name, value in inputs.items()}, first, last

    @torch.no_grad()
    def _stay_in_range(self, inputs: dict[str, Tensor]) -> None:
        if self._config.low is not None:
            for value in inputs.values():
                value.clamp_(self._config.low, self._config.high)


def _matcher(graph: Graph, config: MadeInputs) -> _Matcher | None:
    """None where there is nothing to match, or no batch to have statistics."""
    memories = _memories(graph)
    if not memories or config.steps == 0 or fixed_at_one(graph.inputs):
        return None
    try:
        return _Matcher(graph, memories, config)
    except NotTrainable:
        return None


def _random(graph: Graph, config: MadeInputs, size: int, seed: int) -> dict[str, Array]:
    """Standard normal, or uniform in the range given. Raises DatasetMismatch for inputs that cannot be made up."""
    made = random_inputs(graph.inputs, batch_size=size, seed=seed)
    if config.low is None:
        return made
    generator = np.random.default_rng(seed)
    return {
        name: generator.uniform(config.low, config.high or 0.0, array.shape).astype(array.dtype)
        for name, array in made.items()
    }


def check_can_be_made(graph: Graph) -> None:
    """Raises DatasetMismatch for integer inputs, and for axes of unknown size."""
    random_inputs(graph.inputs, batch_size=1)


def _batches(
    graph: Graph, config: MadeInputs, seed: int, matcher: _Matcher | None, tell: Tell
) -> Iterator[tuple[dict[str, Array], float, float]]:
    size = 1 if fixed_at_one(graph.inputs) else BATCH
    for number, start in enumerate(range(0, config.samples, size)):
        arrays = _random(graph, config, min(size, config.samples - start), seed + number)
        yield matcher.match(arrays) if matcher else (arrays, 0.0, 0.0)
        tell(min(1.0, (start + size) / config.samples))


def _stored(parts: list[dict[str, Array]], folder: Path) -> Samples:
    """As with uploaded data, memory holds only what is looked at."""
    fields: dict[str, Array] = {}
    for number, name in enumerate(parts[0]):
        path = folder / f"{number}.npy"
        np.save(path, np.concatenate([part[name] for part in parts]))
        fields[name] = np.load(path, mmap_mode="r")
    return Samples({Split.TRAIN: Part(fields, None)}, made_splits=False)


def _notes(config: MadeInputs, distances: list[tuple[float, float]], batch_norms: int) -> tuple[str, ...]:
    if batch_norms:
        first, last = (sum(column) / len(distances) for column in zip(*distances, strict=True))
        how = (
            f"changed for {config.steps} steps to have the statistics of {batch_norms} batch normalizations "
            f"(distance {first:.4g} → {last:.4g})"
        )
    elif config.low is None:
        how = "standard normal numbers"
    else:
        how = f"uniform numbers from {config.low} to {config.high}"
    return (f"There was no dataset: learned from {config.samples} made-up inputs, {how}.", LOWER_TRUST)


def make_inputs(teacher: Graph, config: MadeInputs, seed: int, scratch: Path, tell: Tell) -> Made:
    """Make up a train split for what the teacher takes. Raises DatasetMismatch where that makes no sense."""
    matcher = _matcher(teacher, config)
    parts, distances = [], []
    for arrays, first, last in _batches(teacher, config, seed, matcher, tell):
        parts.append(arrays)
        distances.append((first, last))
    folder = Path(tempfile.mkdtemp(dir=scratch, prefix="made-"))
    count = len(_memories(teacher)) if matcher else 0
    return Made(_stored(parts, folder), _notes(config, distances, count))
