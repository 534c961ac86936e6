"""The packages that only the scoreboard needs (peers, models, inputs) lie in a folder of their own, not in `.venv`."""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "var" / "bench" / "packages"
LOCKS = ("bench.txt", "bench-models.txt")


def make_visible() -> None:
    """Let this process import them. Exits with what to do where one is missing or of another version."""
    sys.path.append(str(FOLDER))
    for lock in LOCKS:
        for line in (ROOT / "requirements" / lock).read_text().splitlines():
            name, _, wanted = line.partition("==")
            if wanted and _installed(name) != wanted:
                sys.exit(f"{name} {wanted} is not installed: run `python scripts/install.py bench`, or `make bench`.")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
