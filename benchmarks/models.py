"""The scoreboard: published models, Whetstone's search against what other tools make of them, on this machine.

Every file is timed in fresh processes, in turns, against the original in onnxruntime, and judged on the model's test
split by one definition of loss. Each model's result is kept in var/bench/results.jsonl: a run that was stopped goes on
where it was, and what was disturbed by other work is measured again.

    python scripts/install.py bench      installs the peers and the models (once; `make bench` does it)
    python -m benchmarks.models [--quick] [--models a,b] [--minutes 5] [--write]
"""

import argparse
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.published.catalogue import CATALOGUE, QUICK, names, written
from benchmarks.published.published import NotHere
from benchmarks.scoreboard import packages, record
from benchmarks.scoreboard.contest import Contest
from benchmarks.scoreboard.page import write_page
from benchmarks.scoreboard.sharpen import Effort
from benchmarks.scoreboard.standings import standings
from benchmarks.scoreboard.table import table

console = Console(width=200)


def main() -> None:
    wanted = _arguments()
    packages.make_visible()
    effort = Effort(minutes=1.0, proof_seconds=10.0, sessions=2) if wanted.quick else Effort()
    effort = replace(effort, minutes=wanted.minutes or effort.minutes)
    mark = record.fingerprint(effort.minutes, effort.proof_seconds, effort.sessions)
    models = wanted.models or (QUICK if wanted.quick else tuple(CATALOGUE))
    rows = [row for name in models if (row := measured(name, effort, mark))]
    if not rows:
        sys.exit("No model was measured.")
    console.print(table(rows))
    print(standings(rows).line)
    if wanted.write:
        print(write_page(rows))
    if len(rows) < len(models):
        sys.exit(f"{len(models) - len(rows)} of {len(models)} models were not measured.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{', '.join(QUICK)}, a minute of search each")
    parser.add_argument("--models", type=names, help="only these, with commas between")
    parser.add_argument("--minutes", type=float, help="of search for each model (5; 1 with --quick)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    return parser.parse_args()


def measured(name: str, effort: Effort, mark: str) -> record.Row | None:
    """The row kept, or a new one; None where it cannot be measured, and why is printed."""
    row = record.kept(mark).get(name)
    if row and not row.disturbed:
        return row
    began = time.monotonic()
    try:
        folder = written(name)
        with tempfile.TemporaryDirectory(prefix="whetstone-bench-") as scratch:
            row = Contest(name, folder, Path(scratch), effort, lambda what: say(name, what, began)).row(mark)
    except NotHere as reason:
        say(name, f"left out: {reason}", began)
        return None
    except Exception:  # noqa: BLE001 - the other models are measured all the same
        say(name, f"failed\n{traceback.format_exc()}", began)
        return None
    record.keep(row)
    for reason in row.disturbed:
        say(name, f"disturbed: {reason}", began)
    return row


def say(name: str, what: str, began: float) -> None:
    print(f"[{name} {time.monotonic() - began:4.0f} s] {what}", flush=True)


if __name__ == "__main__":
    main()
