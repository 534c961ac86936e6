"""The table on the terminal."""

from collections.abc import Sequence

from rich.table import Table

from benchmarks.peers.peer import Peer
from benchmarks.scoreboard.record import Entry, Row
from benchmarks.scoreboard.standings import LIMIT, best, best_of, ours, over_best

LEGEND = (
    f"Times as fast as onnxruntime with the original. In brackets: over the limit of {LIMIT:g} % lost, counts as 1. "
    "–: failed, counts as 1. !: disturbed by other work."
)


def cell(entry: Entry) -> str:
    if entry.speedup is None or entry.loss is None:
        return "–"
    text = f"{entry.speedup.value:.2f}"
    return f"({text})" if entry.loss > LIMIT else text


def table(rows: Sequence[Row]) -> Table:
    found = Table(title=LEGEND, title_justify="left")
    for title in ("model", "fp32 ms", *Peer, "best peer", "whetstone", "over best"):
        found.add_column(title, justify="left" if title == "model" else "right")
    for row in rows:
        name = f"{row.model} !" if row.disturbed else row.model
        best_mine = best_of(row.whetstone)
        where = f" {best_mine.target}" if best_mine else ""
        figures = (f"{best(row.peers):.2f}", f"{ours(row):.2f}{where}", f"{over_best(row):.2f}")
        found.add_row(name, f"{row.latency_ms:.3g}", *map(cell, row.peers), *figures)
    return found
