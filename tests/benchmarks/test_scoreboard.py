"""The scoreboard on one small model, all the way; and what its figures mean."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import child
from benchmarks.peers.peer import Peer, target_of
from benchmarks.published.published import save
from benchmarks.scoreboard import page
from benchmarks.scoreboard.contest import Contest
from benchmarks.scoreboard.record import Entry, Row
from benchmarks.scoreboard.sharpen import TARGETS, Effort
from benchmarks.scoreboard.standings import counted, standings
from benchmarks.scoreboard.table import table
from tests.engine import models
from whetstone.contract.reports import Estimate
from whetstone.contract.targets import Target
from workers.engine.measure.environment import describe

BRIEFLY = Effort(minutes=0.05, proof_seconds=1.0, sessions=1)
NOT_INSTALLED = {Peer.NNCF, Peer.OLIVE}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a small net, and random images labelled by the net itself."""
    net, random = models.random_mlp(), np.random.default_rng(0)
    models.saved(net, tmp_path / "model.onnx")
    splits = {}
    for split, count in (("calibration", 32), ("test", 40)):
        x = random.standard_normal((count, 1, 28, 28)).astype(np.float32)
        splits[split] = {"x": x, "labels": models.run(net, x=x)[0].argmax(axis=1)}
    save(tmp_path, **splits)
    return tmp_path


@pytest.mark.timeout(900)  # half a minute of work, which a busy machine stretches
def test_every_side_is_made_judged_and_timed(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tools that are not installed here stand for any that crashes: it counts as the original, and says why."""
    monkeypatch.setattr(child, "FOLDER", tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    said: list[str] = []
    row = Contest("small", model, scratch, BRIEFLY, said.append).row("mark")
    assert [entry.name for entry in row.peers] == list(Peer)
    failed = {entry.name: str(entry.note) for entry in row.peers if entry.speedup is None}
    assert failed.keys() == NOT_INSTALLED
    assert "No module named 'nncf'" in failed[Peer.NNCF]
    assert all(entry.loss is not None for entry in row.peers if entry.name not in failed)
    assert [entry.target for entry in row.whetstone] == list(TARGETS)
    assert all(entry.speedup and entry.loss is not None and entry.note for entry in row.whetstone)
    assert row.judged_by == "accuracy (100.0 %)"
    assert row.latency_ms > 0
    assert said[-1] == "timing all of them"
    assert Row.model_validate_json(row.model_dump_json()) == row


def entry(name: str, speedup: float | None, loss: float | None = 0.0) -> Entry:
    known = None if speedup is None else Estimate(value=speedup, low=speedup, high=speedup)
    return Entry(name=name, target=Target.ONNXRUNTIME_CPU, seconds=1, speedup=known, loss=loss)


def row(model: str, ours: float, *disturbed: str, **peers: float | None) -> Row:
    given = {Peer.ORT_DYNAMIC: 1.0} | {Peer(name): value for name, value in peers.items()}
    return Row(
        model=model, fingerprint="mark", finished=datetime.now(UTC), minutes=5, latency_ms=1, judged_by="agreement",
        peers=tuple(entry(peer, given.get(peer)).model_copy(update={"target": target_of(peer)}) for peer in Peer),
        whetstone=(entry("whetstone", ours),), search="2 candidates.", disturbed=disturbed,
        environment=describe(Target.ONNXRUNTIME_CPU),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"), [((2.0, 0.9), 2.0), ((0.5, 0.0), 0.5), ((9.0, 1.1), 1.0), ((None, None), 1.0)]
)
def test_too_lossy_and_failed_ones_count_as_the_original(
    given: tuple[float | None, float | None], expected: float
) -> None:
    assert counted(entry("any", *given)) == expected


def test_the_oracle_takes_the_best_of_each_model_and_never_less_than_the_original() -> None:
    rows = [row("minilm", 4, ort_static=2.0, nncf=0.5), row("magika", 1, ort_static=0.5, nncf=0.25)]
    found = standings(rows)
    assert found.peers[Peer.ORT_STATIC] == pytest.approx(1.0)
    assert found.oracle == pytest.approx(2**0.5)
    assert found.geomean == pytest.approx(2)
    assert (found.worst, found.worst_over_best) == (1, 1)
    assert found.line.startswith("RESULT geomean=2.000 worst=1.000 best_peer=ort_dynamic:1.000 ")
    assert table(rows).row_count == 2


def test_the_page_says_where_it_falls_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "benchmarks.md")
    page.write_page([row("minilm", 2, ort_static=4.0), row("magika", 2, ort_static=1.0)])
    text = page.PAGE.read_text()
    assert "- **minilm**: `ort_static` 4.00, losing 0.00 %; Whetstone 2.00." in text
    assert "- **magika**" not in text
    assert "| geometric mean |  | 1.00 | 2.00 |" in text


def test_the_page_is_not_written_from_disturbed_measurements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "benchmarks.md")
    assert "disturbed magika" in page.write_page([row("minilm", 2), row("magika", 1, "other work")])
    assert not page.PAGE.exists()
