"""One model's contest: every peer's file and ours made, judged on the test split, and timed in one run."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.peers.child import PeerFailed, made_by
from benchmarks.peers.peer import Peer, target_of
from benchmarks.scoreboard.loss import Judge
from benchmarks.scoreboard.race import Entrant, Result, race
from benchmarks.scoreboard.record import Entry, Row
from benchmarks.scoreboard.sharpen import TARGETS, Effort, Sharpened, sharpen
from benchmarks.scoreboard.standings import LIMIT
from whetstone.contract.reports import Estimate, TargetReport, VerdictKind
from whetstone.contract.targets import AS_USUAL, RuntimeSettings, Target
from whetstone.errors import JobFailed
from workers.engine.graph.reasons import reason_of
from workers.engine.measure.environment import describe
from workers.engine.report.wording import recipe as in_words

ORIGINAL = "original"
SAME = Estimate(value=1.0, low=1.0, high=1.0)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Side:
    """A file that takes part, and what is known of it so far."""

    entry: Entry
    artifact: Path | None
    settings: RuntimeSettings = AS_USUAL


class Contest:
    """`folder` holds model.onnx and data.npz; `scratch` is a new folder."""

    def __init__(self, name: str, folder: Path, scratch: Path, effort: Effort, say: Say) -> None:
        self._name, self._scratch, self._effort, self._say = name, scratch, effort, say
        self._model, self._data = folder / "model.onnx", folder / "data.npz"
        self._judge = Judge(self._model, self._data, scratch)

    def row(self, mark: str) -> Row:
        self._say("the original")
        original = self._judge.loss(Target.ONNXRUNTIME_CPU, self._model, self._scratch / ORIGINAL)
        peers = [self._judged(self._peer(peer)) for peer in Peer]
        job, ours, search = self._whetstone(LIMIT * (1.0 if original.score is None else original.score))
        mine = [self._judged(side) for side in ours]
        self._say("timing all of them")
        timed = self._race([*peers, *mine])
        return Row(
            model=self._name,
            fingerprint=mark,
            finished=datetime.now(UTC),
            minutes=self._effort.minutes,
            latency_ms=timed.latency_ms,
            judged_by=original.what,
            peers=tuple(self._timed(side, timed) for side in peers),
            whetstone=tuple(self._timed(side, timed) for side in mine),
            search=search,
            disturbed=(*timed.disturbed, *_doubts(job)),
            environment=describe(TARGETS[-1]),
        )

    def _peer(self, peer: Peer) -> Side:
        self._say(peer)
        began, artifact, note = time.monotonic(), None, None
        try:
            artifact = made_by(peer, self._model, self._data, self._scratch / peer, 60 * max(self._effort.minutes, 2))
        except PeerFailed as failed:
            note = str(failed)
        return Side(Entry(name=peer, target=target_of(peer), seconds=time.monotonic() - began, note=note), artifact)

    def _whetstone(self, max_drop: float) -> tuple[Sharpened | None, list[Side], str]:
        """The job, its files, and how the search went in words."""
        self._say("Whetstone")
        began = time.monotonic()
        try:
            job = sharpen(self._model, self._data, max_drop, self._effort, self._scratch / "job")
        except JobFailed as failed:
            return None, [], f"The job failed: {failed}"
        seconds = time.monotonic() - began
        sides = [_delivered(target, job, seconds) for target in job.report.targets]
        failed_too = [f"{one.target} failed: {one.failure.message}" for one in job.report.failed_targets]
        return job, sides, " ".join([*_candidates(job), *failed_too])

    def _judged(self, side: Side) -> Side:
        """With what it lost, unless that is known; one that cannot be run takes part no longer."""
        if side.artifact is None or side.entry.loss is not None:
            return side
        where = self._scratch / "judged"
        try:
            found = self._judge.loss(side.entry.target, side.artifact, where).percent
        except Exception as error:  # noqa: BLE001 - a runtime says in a dozen ways that it cannot run a file
            return Side(side.entry.model_copy(update={"note": f"cannot be run: {reason_of(error)}"}), None)
        finally:
            shutil.rmtree(where, ignore_errors=True)
        return replace(side, entry=side.entry.model_copy(update={"loss": found}))

    def _race(self, sides: list[Side]) -> Result:
        entrants = {ORIGINAL: Entrant(Target.ONNXRUNTIME_CPU, self._model)}
        entrants |= {
            side.entry.name: Entrant(side.entry.target, side.artifact, side.settings) for side in sides if side.artifact
        }
        inputs = next(self._judge.feed.batches()).inputs
        return race(entrants, ORIGINAL, inputs, self._effort.sessions, self._scratch / "race")

    def _timed(self, side: Side, timed: Result) -> Entry:
        if side.artifact is None:
            return side.entry
        ratio = self._model.stat().st_size / side.artifact.stat().st_size
        return side.entry.model_copy(update={"speedup": timed.speedups[side.entry.name], "size_ratio": ratio})


def _delivered(report: TargetReport, job: Sharpened, seconds: float) -> Side:
    """What a target was given. Where that is the original in the runtime it had, there is nothing to be timed."""
    gained = report.verdict.kind is not VerdictKind.NO_GAIN
    same = not gained and report.target is Target.ONNXRUNTIME_CPU
    chosen = (one.recipe for one in job.report.candidates if one.chosen and one.target is report.target)
    entry = Entry(
        name=f"whetstone {report.target}",
        target=report.target,
        seconds=seconds,
        speedup=SAME if same else None,
        loss=0.0 if same else None,
        size_ratio=1.0 if same else None,
        recipe=in_words(next(chosen, ())) if gained else "the original",
        note=report.verdict.reason,
    )
    settings = report.settings if gained else AS_USUAL
    return Side(entry, None if same else job.files[report.target], settings)


def _candidates(job: Sharpened) -> Iterator[str]:
    """How many were tried for each target, and the quickest of those that were not allowed."""
    for target in TARGETS:
        mine = [one for one in job.report.candidates if one.target is target]
        failed = sum(one.lost is None for one in mine)
        yield f"{target}: {len(mine)} candidates" + (f", {failed} of them failed." if failed else ".")
        dropped = [one for one in mine if one.speedup is not None and one.because.startswith("Dropped")]
        if quickest := max(dropped, key=lambda one: one.speedup or 0, default=None):
            yield f"Quickest that was dropped: {in_words(quickest.recipe)} ({quickest.because.rstrip('.')})."


def _doubts(job: Sharpened | None) -> Iterator[str]:
    """Measurements of the job that could not be relied on."""
    for report in job.report.targets if job else ():
        for reason in report.conditions.invalid_because:
            yield f"Whetstone's own for {report.target}: {reason}"
