"""What is kept of a model's contest: one JSON line each, so that a long run can be continued."""

import hashlib
from datetime import datetime

from benchmarks.scoreboard.packages import ROOT
from whetstone.contract.reports import Environment, Estimate
from whetstone.contract.targets import Target
from whetstone.contract.types import Contract

FILE = ROOT / "var" / "bench" / "results.jsonl"
SOURCES = ("benchmarks/peers", "benchmarks/published", "benchmarks/scoreboard", "whetstone", "workers")


class Entry(Contract):
    """One file in the contest, or why there is none. `loss` is in percent, `seconds` is what making it took."""

    name: str
    target: Target
    seconds: float
    speedup: Estimate | None = None
    loss: float | None = None
    size_ratio: float | None = None
    recipe: str | None = None
    note: str | None = None


class Row(Contract):
    """One model: everything that was measured, and under which conditions."""

    model: str
    fingerprint: str
    finished: datetime
    minutes: float
    latency_ms: float
    judged_by: str
    peers: tuple[Entry, ...]
    whetstone: tuple[Entry, ...]
    search: str
    disturbed: tuple[str, ...]
    environment: Environment


def fingerprint(*settings: float) -> str:
    """Changes with everything that a result depends on: results of different ones are never put in one table."""
    digest = hashlib.sha256(repr(settings).encode())
    files = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")]
    for path in sorted([*files, *(ROOT / "requirements").glob("*.txt")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def kept(mark: str) -> dict[str, Row]:
    """The last row of each model with this fingerprint."""
    lines = FILE.read_text().splitlines() if FILE.exists() else []
    rows = [Row.model_validate_json(line) for line in lines if f'"{mark}"' in line]
    return {row.model: row for row in rows if row.fingerprint == mark}


def keep(row: Row) -> None:
    FILE.parent.mkdir(parents=True, exist_ok=True)
    with FILE.open("a") as file:
        file.write(row.model_dump_json() + "\n")
