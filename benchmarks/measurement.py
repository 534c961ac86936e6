"""Whetstone's latencies beside those that MLPerf's LoadGen finds, on the same models, cores and calls, by turns.

Errors are those of the median ratio over the turns, of the worse model; the spread is that of Whetstone's own p50 from
turn to turn, (highest - lowest) / median, each turn being a whole measurement as a job has it.

    python scripts/install.py bench      installs LoadGen (once; `make bench` does it)
    python -m benchmarks.measurement [--quick]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.scoreboard import packages
from examples import fashion
from whetstone.contract.jobs import Measurement
from whetstone.contract.reports import Measured
from whetstone.contract.targets import Target
from workers.engine.measure.latency import Contest, cores_for, measure
from workers.engine.measure.sessions import SESSIONS

PERCENTS = (50, 90)
MODELS = (("cnn", 1), ("resnet", 1), ("resnet", 32))
"""Networks of examples/fashion.py with random weights, and how many images a call takes: from 0.1 to 10 ms."""


@dataclass(frozen=True)
class Effort:
    """Turns for each model, and seconds of timing in each."""

    turns: int
    seconds: float


@dataclass(frozen=True)
class Found:
    """What both found for one model: milliseconds by percent, one entry for each turn."""

    ours: dict[int, list[float]]
    theirs: dict[int, list[float]]

    def error(self, percent: int) -> float:
        pairs = zip(self.ours[percent], self.theirs[percent], strict=True)
        return abs(statistics.median(ours / theirs for ours, theirs in pairs) - 1)

    @property
    def spread(self) -> float:
        p50 = self.ours[50]
        return (max(p50) - min(p50)) / statistics.median(p50)


def compared(name: str, batch: int, effort: Effort, folder: Path) -> Found:
    torch.manual_seed(0)
    model = fashion.export(fashion.NETWORKS[name].make().eval(), folder / f"{name}-{batch}.onnx")
    inputs = {"x": np.random.default_rng(0).standard_normal((batch, 1, 28, 28), np.float32)}
    np.savez(folder / "inputs.npz", **inputs)
    found = Found({percent: [] for percent in PERCENTS}, {percent: [] for percent in PERCENTS})
    for _ in range(effort.turns):
        _note(found.theirs, _loadgen(model, effort, folder))
        _note(found.ours, _whetstone(model, inputs, effort, folder))
    return found


def _note(found: dict[int, list[float]], seen: dict[int, float]) -> None:
    for percent, ms in seen.items():
        found[percent].append(ms)


def _whetstone(model: Path, inputs: dict[str, np.ndarray], effort: Effort, folder: Path) -> dict[int, float]:
    """The model against itself, as any job measures."""
    how = Measurement(threads=1, max_seconds=effort.seconds)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        contest = Contest(Target.ONNXRUNTIME_CPU, model, model, inputs)
        timing = measure(contest, how, Path(scratch), lambda _share, _speedup: None)
    if not timing.conditions.valid:
        print(f"  disturbed: {'; '.join(timing.conditions.invalid_because)}", flush=True)
    return {percent: _percentile(timing.original, percent) for percent in PERCENTS}


def _percentile(measured: Measured, percent: int) -> float:
    found = measured.latency.at(percent)
    if found is None:
        sys.exit(f"Too few samples for p{percent}.")
    return found.ms


def _loadgen(model: Path, effort: Effort, folder: Path) -> dict[int, float]:
    """The medians over as many processes as Whetstone starts."""
    (core,) = cores_for(1)
    seen: dict[int, list[float]] = {percent: [] for percent in PERCENTS}
    for _ in range(SESSIONS):
        with tempfile.TemporaryDirectory(dir=folder) as logs:
            order = [str(model), str(folder / "inputs.npz"), str(core), str(effort.seconds / SESSIONS / 2), logs]
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.parts.loadgen", *order],
                check=True, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(packages.FOLDER)},
            )  # fmt: skip
        told = json.loads(done.stdout.splitlines()[-1])
        _note(seen, {percent: told[f"p{percent}_ms"] for percent in PERCENTS})
    return {percent: statistics.median(times) for percent, times in seen.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three short turns for each model")
    effort = Effort(turns=3, seconds=6) if parser.parse_args().quick else Effort(turns=7, seconds=15)
    packages.make_visible()
    table = Table("model", "batch", "p50 ms", "LoadGen", "off by", "p90 ms", "LoadGen", "off by", "spread")
    seen = []
    with tempfile.TemporaryDirectory(prefix="whetstone-") as folder:
        for name, batch in MODELS:
            found = compared(name, batch, effort, Path(folder))
            seen.append(found)
            cells = []
            for percent in PERCENTS:
                ours, theirs = (statistics.median(side[percent]) for side in (found.ours, found.theirs))
                cells += [f"{ours:.4g}", f"{theirs:.4g}", f"{found.error(percent):.1%}"]
            table.add_row(name, str(batch), *cells, f"{found.spread:.1%}")
    Console().print(table)
    errors = " ".join(f"p{percent}_error={max(found.error(percent) for found in seen):.3f}" for percent in PERCENTS)
    print(f"RESULT {errors} spread={max(found.spread for found in seen):.3f}")


if __name__ == "__main__":
    main()
