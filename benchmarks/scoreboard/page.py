"""`docs/benchmarks.md`: the table, where Whetstone falls short and why, what failed, and what it all ran on."""

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from benchmarks.peers.peer import TITLES, Peer
from benchmarks.published.catalogue import CATALOGUE
from benchmarks.scoreboard.packages import ROOT
from benchmarks.scoreboard.record import Entry, Row
from benchmarks.scoreboard.standings import LEVEL, LIMIT, best, best_of, counted, ours, over_best, standings
from benchmarks.scoreboard.table import cell

PAGE = ROOT / "docs" / "benchmarks.md"
PEER_PACKAGES = ("onnxruntime", "openvino", "nncf", "olive-ai")

INTRODUCTION = """# Benchmarks

Measured by `python -m benchmarks.models`, on {date}, on one machine: {cpu}, {cores} cores used,
{isa}; {versions}.

{count} models that others trained and published in packages (three are trained here), with real inputs.{left_out}
Whetstone's entry is a job with a search of at most {minutes:g} minutes and default settings, for `{targets}`; the
better of the two files counts. The peers have the settings they have when nobody chooses any:

{peers}

All files of a model are timed in one run: each in fresh processes of its own, more than once, in turns, in random
order. **{limit:g} % may be lost**, relative to the original, on a test split that nobody was shown: accuracy where
there are labels; else the share of changed decisions, where an output decides among classes; else one minus the mean
cosine similarity of the outputs. A file that lost more, or a tool that failed, counts as the original: 1.00.

```text
{result}
```

`oracle` takes the best peer of each model, as if one had known it.
"""


def write_page(rows: Sequence[Row]) -> str:
    """Write it, and say so; refuses figures that were measured while other work ran."""
    if disturbed := [row.model for row in rows if row.disturbed]:
        return (
            f"{PAGE.name} is not written: other work disturbed {', '.join(disturbed)}. Run it again: they are redone."
        )
    parts = [_introduction(rows), *_speeds(rows), *_files(rows), *_short(rows), *_failed(rows), *_sources(rows)]
    PAGE.write_text("\n".join(parts).rstrip() + "\n")
    return f"{PAGE} is written."


def _left_out(rows: Sequence[Row]) -> str:
    """Models of the catalogue that are not in the table: not asked for, or without an undisturbed result."""
    missing = [name for name in CATALOGUE if name not in {row.model for row in rows}]
    return f" Not in this table: {', '.join(missing)}." if missing else ""


def _introduction(rows: Sequence[Row]) -> str:
    machine = rows[-1].environment
    return INTRODUCTION.format(
        date=max(row.finished for row in rows).strftime("%Y-%m-%d"),
        cpu=machine.cpu,
        cores=machine.cores,
        isa=", ".join(machine.isa),
        versions=", ".join(map(_with_version, PEER_PACKAGES)),
        count=len(rows),
        left_out=_left_out(rows),
        minutes=rows[0].minutes,
        targets="` and `".join(dict.fromkeys(entry.target for row in rows for entry in row.whetstone)),
        peers="\n".join(f"- `{peer}`: {title}" for peer, title in TITLES.items()),
        limit=LIMIT,
        result=standings(rows).line,
    )


def _speeds(rows: Sequence[Row]) -> Iterator[str]:
    yield "## Times as fast as the original\n\nIn brackets: lost too much, counts as 1. –: failed, counts as 1.\n"
    yield _line("model", "fp32, ms", *Peer, "best peer", "**Whetstone**", "over best peer")
    yield _line("---", *["---:"] * (len(Peer) + 4))
    for row in rows:
        figures = (f"{best(row.peers):.2f}", f"**{ours(row):.2f}**", f"{over_best(row):.2f}")
        yield _line(row.model, f"{row.latency_ms:.3g}", *map(cell, row.peers), *figures)
    found = standings(rows)
    means = [f"{found.peers[peer]:.2f}" for peer in Peer]
    total = found.geomean / found.oracle
    yield _line("geometric mean", "", *means, f"{found.oracle:.2f}", f"**{found.geomean:.2f}**", f"{total:.2f}")


def _files(rows: Sequence[Row]) -> Iterator[str]:
    yield "\n## What was delivered\n"
    yield _line("model", "target", "times as fast", "95 % interval", "times smaller", "lost, %", "judged by", "recipe")
    yield _line("---", "---", "---:", "---:", "---:", "---:", "---", "---")
    for row in rows:
        for entry in row.whetstone:
            yield _line(row.model, entry.target, *_figures(entry), row.judged_by, entry.recipe or "")


def _figures(entry: Entry) -> tuple[str, str, str, str]:
    if entry.speedup is None or entry.loss is None or entry.size_ratio is None:
        return "–", "", "", ""
    between = f"{entry.speedup.low:.2f} to {entry.speedup.high:.2f}"
    return f"{entry.speedup.value:.2f}", between, f"{entry.size_ratio:.2f}", f"{entry.loss:.2f}"


def _short(rows: Sequence[Row]) -> Iterator[str]:
    """Models on which a peer was faster, with what the search has to say."""
    yield f"\n## Where it falls short\n\nModels on which Whetstone was below {LEVEL:g} of the best peer.\n"
    short = sorted((row for row in rows if over_best(row) < LEVEL), key=over_best)
    for row in short:
        peer = best_of(row.peers)
        beaten = f"`{peer.name}` {counted(peer):.2f}, losing {peer.loss:.2f} %" if peer else "the original 1.00"
        yield f"- **{row.model}**: {beaten}; Whetstone {ours(row):.2f}. {_verdicts(row)} {row.search}"
    if not short:
        yield "None."


def _verdicts(row: Row) -> str:
    return " ".join(f"`{entry.target}`: {entry.note}" for entry in row.whetstone)


def _failed(rows: Sequence[Row]) -> Iterator[str]:
    yield "\n## What failed\n"
    yield _line("model", "tool", "why")
    yield _line("---", "---", "---")
    for row in rows:
        for entry in row.peers:
            if entry.speedup is None:
                yield _line(row.model, entry.name, (entry.note or "").replace("|", "\\|"))


def _sources(rows: Sequence[Row]) -> Iterator[str]:
    yield "\n## The models\n"
    yield _line("model", "what it does", "inputs", "from")
    yield _line("---", "---", "---", "---")
    for row in rows:
        model = CATALOGUE[row.model]
        yield _line(row.model, model.task, model.inputs, ", ".join(map(_with_version, model.packages)))


def _with_version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
