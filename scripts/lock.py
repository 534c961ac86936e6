"""Write the lock files `requirements/*.txt` from `requirements/*.in`: exact versions, no addresses, no local builds.

    make lock

Everything is resolved once (dev.txt), and the parts are cut from that, so that they agree. torch is pinned to its
public version: which build of it (CPU, CUDA) is installed is decided where it is installed.
"""

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "requirements"
PARTS = ("dev", "app", "engine")
OPTIONS = ("--quiet", "--strip-extras", "--no-header", "--annotation-style=line", "--allow-unsafe")
SILENT = ("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--no-emit-options")


def lock(part: str) -> None:
    source, target = FOLDER / f"{part}.in", FOLDER / f"{part}.txt"
    constraint = () if part == PARTS[0] else ("--constraint", str(FOLDER / f"{PARTS[0]}.txt"))
    command = [sys.executable, "-m", "piptools", "compile", *OPTIONS, *SILENT, *constraint]
    subprocess.run([*command, "--output-file", str(target), str(source)], check=True, cwd=FOLDER.parent)
    text = re.sub(r"(==[0-9.]+)\+cpu", r"\1", target.read_text())
    text = re.sub(r"\s+#.*", "", text)
    target.write_text(f"# Written by `make lock` from {source.name}.\n{text}")


for each in PARTS:
    lock(each)
    print(f"requirements/{each}.txt")
