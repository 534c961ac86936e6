"""Write the lock files `requirements/*.txt` from `requirements/*.in`: exact versions, no addresses, no local builds.

    make lock

Everything is resolved once (dev.txt), and the parts are cut from that, so that they agree; bench.txt holds only what
the scoreboard needs beside it. Toolkits are environments of their own, each resolved alone; those that lie over the
engine's environment are constrained by its lock file, and hold only what that has not. torch is pinned to its public
version: which build of it (CPU, CUDA) is installed is decided where it is installed.
"""

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "requirements"
PARTS = ("dev", "app", "engine", "bench")
BESIDE = "bench"
"""Its packages go into a folder beside the environment, which has the others already."""

OVER_ENGINE = "-c ../engine.txt"

TOOLKITS = tuple(f"toolkits/{path.stem}" for path in sorted((FOLDER / "toolkits").glob("*.in")))
OPTIONS = ("--quiet", "--strip-extras", "--no-header", "--annotation-style=line", "--allow-unsafe")
SILENT = ("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--no-emit-options")


def lock(part: str) -> None:
    source, target = FOLDER / f"{part}.in", FOLDER / f"{part}.txt"
    alone = part in (PARTS[0], *TOOLKITS)
    constraint = () if alone else ("--constraint", str(FOLDER / f"{PARTS[0]}.txt"))
    command = [sys.executable, "-m", "piptools", "compile", *OPTIONS, *SILENT, *constraint]
    subprocess.run([*command, "--output-file", str(target), str(source)], check=True, cwd=FOLDER.parent)
    text = re.sub(r"(==[0-9.]+)\+cpu", r"\1", target.read_text())
    text = re.sub(r"\s+#.*", "", text)
    if part == BESIDE:
        text = without(text, FOLDER / f"{PARTS[0]}.txt")
    if OVER_ENGINE in source.read_text():
        text = without(text, FOLDER / "engine.txt")
    target.write_text(f"# Written by `make lock` from {source.name}.\n{text}")


def without(text: str, other: Path) -> str:
    """The lines that another lock file has not."""
    there = set(other.read_text().splitlines())
    return "\n".join(line for line in text.splitlines() if line not in there) + "\n"


for each in (*PARTS, *TOOLKITS):
    lock(each)
    print(f"requirements/{each}.txt")
