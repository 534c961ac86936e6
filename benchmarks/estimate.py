"""How far estimates are from what jobs take, on the published models.

Two orders for each: a recipe (static int8) and a short search, both delivered for onnxruntime. First all are estimated
by the rules alone, then each is estimated again, by what the service has seen by then, ordered, and timed: the seconds
that its steps worked, without any time in a queue.

    python scripts/install.py bench      installs the models (once; `make bench` does it)
    python -m benchmarks.estimate [--quick] [--models a,b]
"""

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.parts.house import fresh_service
from benchmarks.published.catalogue import CATALOGUE, QUICK, names, written
from benchmarks.published.published import NotHere
from benchmarks.scoreboard import packages
from whetstone.client import Client
from whetstone.contract.jobs import JobRead, JobSpec, Measurement, Recipe
from whetstone.contract.passes import Simplify
from whetstone.contract.quantization import Quantize
from whetstone.contract.search import Limit, Search
from whetstone.errors import JobFailed

FACTOR = 2.0
PLANS = {
    "static int8": Recipe(passes=(Simplify(), Quantize())),
    "search": Search(limit=Limit(minutes=1, trials=6)),
}
console = Console(width=140)


@dataclass(frozen=True)
class Row:
    """Seconds of one order: by the rules, as told just before, and as it took."""

    model: str
    plan: str
    by_rule: float
    told: float
    took: float

    @property
    def ratio(self) -> float:
        """Told over taken."""
        return self.told / self.took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=", ".join(QUICK))
    parser.add_argument("--models", type=names, help="only these, with commas between")
    wanted = parser.parse_args()
    packages.make_visible()
    rows = measured(wanted.models or (QUICK if wanted.quick else tuple(CATALOGUE)))
    if not rows:
        sys.exit("No job was timed.")
    show(rows)


def measured(models: Sequence[str]) -> list[Row]:
    with fresh_service() as client:
        orders = {(model, plan): order for model in models for plan, order in ordered(client, model).items()}
        by_rule = {key: client.jobs.estimate(order).seconds for key, order in orders.items()}
        rows = (timed(client, key, order, by_rule[key]) for key, order in orders.items())
        return [row for row in rows if row]


def ordered(client: Client, model: str) -> dict[str, JobSpec]:
    """The orders for one model, by plan; none where it cannot be had."""
    try:
        folder = written(model)
    except NotHere as reason:
        console.print(f"{model}: left out: {reason}")
        return {}
    uploaded = client.models.upload(folder / "model.onnx"), client.datasets.upload(folder / "data.npz")
    return {
        plan: JobSpec(
            name=f"{model}, {plan}",
            model_id=uploaded[0].id,
            dataset_id=uploaded[1].id,
            plan=how,
            measurement=Measurement(max_seconds=10),
        )
        for plan, how in PLANS.items()
    }


def timed(client: Client, key: tuple[str, str], order: JobSpec, by_rule: float) -> Row | None:
    told = client.jobs.estimate(order).seconds
    job = client.jobs.submit(order)
    try:
        client.jobs.wait(job.id)
    except JobFailed as error:
        console.print(f"{order.name}: {error}", highlight=False)
        return None
    row = Row(*key, by_rule, told, worked(client.jobs.get(job.id)))
    console.print(f"{order.name}: told {row.told:.1f} s, took {row.took:.1f} s", highlight=False)
    return row


def worked(job: JobRead) -> float:
    """Seconds of its steps."""
    times = [(step.started_at, step.finished_at) for step in job.steps]
    return sum((end - start).total_seconds() for start, end in times if start and end)


def show(rows: list[Row]) -> None:
    table = Table(title="Estimates", title_justify="left")
    for title in ("model", "plan", "by rule, s", "told, s", "took, s", "told / took"):
        table.add_column(title, justify="left" if title in {"model", "plan"} else "right")
    for row in rows:
        numbers = (row.by_rule, row.told, row.took)
        table.add_row(row.model, row.plan, *(f"{value:.1f}" for value in numbers), f"{row.ratio:.2f}")
    console.print(table)
    told, ruled = [row.ratio for row in rows], [row.by_rule / row.took for row in rows]
    print(
        f"RESULT within_factor_2={within(told):.2f} median_ratio={statistics.median(told):.2f} worst={worst(told):.2f} "
        f"rule_within_factor_2={within(ruled):.2f} rule_median_ratio={statistics.median(ruled):.2f} "
        f"rule_worst={worst(ruled):.2f} orders={len(rows)}"
    )


def within(ratios: list[float]) -> float:
    return sum(1 / FACTOR <= ratio <= FACTOR for ratio in ratios) / len(ratios)


def worst(ratios: list[float]) -> float:
    return max(ratios, key=lambda ratio: abs(math.log(ratio)))


if __name__ == "__main__":
    main()
