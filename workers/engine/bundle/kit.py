"""All that is needed to repeat a measurement elsewhere, but for the manifest: that is signed once this is known."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

import numpy as np
from pydantic import Field

from whetstone.contract.metrics import Metric
from whetstone.contract.models import TensorFacts
from whetstone.contract.steps import PackedFile
from whetstone.contract.targets import RuntimeSettings, Target, toolkit_of
from whetstone.contract.toolkits import Toolkit
from whetstone.contract.types import Contract
from workers.engine.bundle.tar import packing
from workers.engine.bundle.triton import config
from workers.engine.data.samples import Batch
from workers.engine.measure.environment import describe, runtime_of
from workers.engine.measure.feed import Feed
from workers.engine.measure.toolchain import toolchain
from workers.engine.targets import fixed_batch
from workers.engine.targets.runtime import Array

HERE = Path(__file__).parent
NOTHING: Mapping[str, Path] = MappingProxyType({})
SAMPLE_BYTES = 64 * 2**20
"""Samples of more bytes than this are left out: evenly, as a file may be sorted by class."""


class Agreement(Contract):
    """`contract.json`: how the two models are called, and how their outputs are read.

    `samples.npz` holds `whole` or fewer samples: `g{group}_i{input}` are batches of one shape, stacked, the inputs in
    the order given here, and `g{group}_labels` what is right. `thresholds`: where an output of one number for each
    sample turns from class 0 to class 1. `metric` and `compared` are what is judged by labels and without.
    """

    target: Target
    model: str
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    settings: RuntimeSettings
    threads: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    samples: int
    whole: int
    largest_label: float | None
    thresholds: dict[str, float]
    metric: Metric | None = None
    compared: Metric | None = None


@dataclass(frozen=True)
class Pair:
    """The two files that were measured against each other, named alike."""

    original: Path
    result: Path


def pack(
    pair: Pair,
    agreement: Agreement,
    feed: Feed,
    path: Path,
    scratch: Path,
    beside: Mapping[str, Path] = NOTHING,
    toolkit: Toolkit | None = None,
) -> tuple[PackedFile, ...]:
    """Write the kit, with what lies `beside` the two models; what is in it. The same files give the same bytes.

    `toolkit` is the one that took part, where that is not the one of the target that the models run on.
    """
    samples = scratch / "samples.npz"
    _write_samples(feed, samples)
    with packing(path, path.name.removesuffix(".kit.tar.gz")) as kit:
        kit.add("README.md", HERE / "BUNDLE.md")
        kit.write("contract.json", agreement.model_dump_json(indent=1) + "\n")
        kit.write("requirements.txt", _requirements(agreement.target))
        kit.add("reproduce.py", HERE / "reproduce.py")
        if toolkit_of(agreement.target) is not None:
            kit.add("fixed_batch.py", Path(fixed_batch.__file__))
        kit.add("samples.npz", samples)
        kit.write("toolchain.cdx.json", toolchain(toolkit or toolkit_of(agreement.target)))
        triton = config(agreement.target, agreement.inputs, agreement.outputs)
        if triton is not None:
            kit.write("triton/config.pbtxt", triton)
        kit.add(f"result/{agreement.model}", pair.result)
        kit.add(f"original/{agreement.model}", pair.original)
        for name, file in beside.items():
            kit.add(name, file)
    samples.unlink()
    return tuple(kit.packed)


def few_enough(feed: Feed) -> Feed:
    """The same feed, or as many of its samples as a bundle may hold."""
    first = next(feed.batches())
    size = sum(array.nbytes for array in first.inputs.values()) / first.size
    return replace(feed, at_most=min(feed.count, max(1, int(SAMPLE_BYTES / max(size, 1)))))


def _write_samples(feed: Feed, path: Path) -> None:
    """Uncompressed: the kit is."""
    arrays: dict[str, Array] = {}
    for group, batches in enumerate(_alike(feed)):
        for number, tensor in enumerate(feed.inputs):
            arrays[f"g{group}_i{number}"] = np.stack([batch.inputs[tensor.name] for batch in batches])
        labels = [batch.labels for batch in batches if batch.labels is not None]
        if labels:
            arrays[f"g{group}_labels"] = np.stack(labels)
    np.savez(path, **arrays)  # type: ignore[arg-type] # numpy's stub takes the names for its own options


def _alike(feed: Feed) -> Iterator[list[Batch]]:
    def shapes(batch: Batch) -> tuple[tuple[int, ...], ...]:
        return tuple(batch.inputs[tensor.name].shape for tensor in feed.inputs)

    for _, group in groupby(feed.batches(), key=shapes):
        yield list(group)


def _requirements(target: Target) -> str:
    wanted = {"numpy": describe(target).versions["numpy"]} | runtime_of(target)
    return "".join(f"{package}=={version}\n" for package, version in sorted(wanted.items()))
