"""From rows to the figures: what counts, who is best, and the means."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.peers.peer import Peer
from benchmarks.scoreboard.record import Entry, Row

LIMIT = 1.0
"""Percent that may be lost, relative to the original. A file over it counts as the original: nobody would take it."""

LEVEL = 0.97
"""The share of the best peer's speed from which on Whetstone is said to be level with it."""


@dataclass(frozen=True)
class Standings:
    """Geometric means over the models; `oracle` takes the best peer of each model, as if one had known."""

    geomean: float
    worst: float
    best_peer: Peer
    peers: dict[Peer, float]
    oracle: float
    worst_over_best: float

    @property
    def line(self) -> str:
        best = self.peers[self.best_peer]
        return (
            f"RESULT geomean={self.geomean:.3f} worst={self.worst:.3f} best_peer={self.best_peer}:{best:.3f} "
            f"geomean_over_best_peer={self.geomean / best:.3f} oracle={self.oracle:.3f} "
            f"geomean_over_oracle={self.geomean / self.oracle:.3f} worst_over_best={self.worst_over_best:.3f}"
        )


def counted(entry: Entry) -> float:
    """Times as fast as the original; 1 where it failed or lost too much."""
    if entry.speedup is None or entry.loss is None or entry.loss > LIMIT:
        return 1.0
    return entry.speedup.value


def best_of(entries: Sequence[Entry]) -> Entry | None:
    """The fastest that counts; None where the original is."""
    best = max(entries, key=counted, default=None)
    return best if best and counted(best) > 1 else None


def best(entries: Sequence[Entry]) -> float:
    """Of several files one takes the fastest, and the original where it is faster."""
    found = best_of(entries)
    return counted(found) if found else 1.0


def ours(row: Row) -> float:
    """The best of the files delivered; not more than the original where a job failed, and less if all are slower."""
    return max(map(counted, row.whetstone), default=1.0)


def over_best(row: Row) -> float:
    return ours(row) / best(row.peers)


def standings(rows: Sequence[Row]) -> Standings:
    peers = {
        peer: statistics.geometric_mean(counted(entry) for row in rows for entry in row.peers if entry.name == peer)
        for peer in Peer
    }
    return Standings(
        geomean=statistics.geometric_mean(map(ours, rows)),
        worst=min(map(ours, rows)),
        best_peer=max(peers, key=peers.__getitem__),
        peers=peers,
        oracle=statistics.geometric_mean(best(row.peers) for row in rows),
        worst_over_best=min(map(over_best, rows)),
    )
