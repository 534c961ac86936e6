"""Make `.venv` and install everything in it: CPU PyTorch first, then the locked rest. A second run does nothing.

With `bench` as its argument it then puts the scoreboard's tools and models into var/bench/packages, beside `.venv`.

Needs only Python 3.11+ and the package index that pip is set up for. Two variables change where PyTorch comes from:

    TORCH_VERSION   the version (default: the one in the lock file)
    TORCH_INDEX     an index that serves CPU builds, see "CPU" on PyTorch's "get started" page; needed where the
                    default index serves CUDA builds (Linux on x86-64), unless the CPU build is at hand
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed"
LOCKS = (ROOT / "requirements" / "dev.txt", ROOT / "requirements" / "demo.txt")
BENCH = ROOT / "var" / "bench" / "packages"
BENCH_LOCKS = tuple(ROOT / "requirements" / name for name in ("bench.txt", "bench-models.txt"))
OLDEST = (3, 11)
CUDA_PARTS = re.compile(r"^(nvidia-|triton|cuda-)")

CUDA_ONLY = """\
The package index offers PyTorch {version} only as a CUDA build of several gigabytes, and a CPU build is wanted.
Name an index that has CPU builds (PyTorch's "get started" page shows its address for "CPU"):

    make TORCH_INDEX=<address> {goal}
"""


def main() -> None:
    if sys.version_info < OLDEST:
        sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}.")
    wanted = fingerprint(LOCKS)
    if not (STAMP.exists() and STAMP.read_text() == wanted):
        install(wanted)
    if "bench" in sys.argv[1:]:
        install_bench()


def install(wanted: str) -> None:
    if not PYTHON.exists():
        say("making .venv")
        venv.create(VENV, with_pip=True)
    install_torch()
    say("installing the locked requirements")
    pip("install", "--quiet", "--requirement", str(LOCKS[0]))
    pip("install", "--quiet", "--no-deps", "--requirement", str(LOCKS[1]))
    pip("install", "-qqq", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    STAMP.write_text(wanted)
    say("installed")


def install_bench() -> None:
    """A folder that is put on the search path; `.venv` is left as it is, so that no other command can tell."""
    stamp, wanted = BENCH.with_name("installed"), fingerprint(BENCH_LOCKS)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say("installing the scoreboard's tools and models (about 700 MB)")
    shutil.rmtree(BENCH, ignore_errors=True)
    files = [part for lock in BENCH_LOCKS for part in ("--requirement", str(lock))]
    pip("install", "--quiet", "--no-deps", "--no-warn-script-location", "--target", str(BENCH), *files)
    stamp.write_text(wanted)
    say("installed")


def fingerprint(locks: tuple[Path, ...]) -> str:
    """Changes with the lock files, the Python and where PyTorch comes from."""
    parts = [path.read_bytes() for path in (*locks, ROOT / "pyproject.toml")]
    parts.append(repr((sys.version_info[:2], torch_version(), os.environ.get("TORCH_INDEX"))).encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def torch_version() -> str:
    locked = re.search(r"^torch==(\S+)", LOCKS[0].read_text(), re.MULTILINE)
    return os.environ.get("TORCH_VERSION") or (locked.group(1) if locked else "")


def install_torch() -> None:
    """First and alone: any later requirement is then satisfied by it, whatever build it is."""
    wanted = f"torch=={torch_version()}"
    if has(wanted):
        return
    index = os.environ.get("TORCH_INDEX")
    if index:
        say(f"installing {wanted} (CPU)")
        pip("install", "--quiet", "--index-url", index, wanted)
        return
    if brings_cuda(wanted):
        goal = os.environ.get("GOAL", "demo")
        sys.exit(CUDA_ONLY.format(version=torch_version(), goal=goal))
    say(f"installing {wanted} (CPU)")
    pip("install", "--quiet", wanted)


def has(requirement: str) -> bool:
    """Whether it is installed already, so that pip would fetch nothing."""
    name, _, version = requirement.partition("==")
    code = "import importlib.metadata as m, sys; sys.exit(m.version(sys.argv[1]).split('+')[0] != sys.argv[2])"
    return subprocess.run([PYTHON, "-c", code, name, version], capture_output=True, check=False).returncode == 0


def brings_cuda(requirement: str) -> bool:
    """Ask pip what it would install, without doing so."""
    plan = pip("install", "--quiet", "--dry-run", "--report", "-", requirement, capture=True)
    return any(CUDA_PARTS.match(item["metadata"]["name"].lower()) for item in json.loads(plan)["install"])


def pip(*arguments: str, capture: bool = False) -> str:
    command = [str(PYTHON), "-m", "pip", *arguments]
    done = subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE if capture else None)
    if done.returncode != 0:
        sys.exit(f"pip failed: {' '.join(arguments)}")
    return done.stdout or ""


def say(what: str) -> None:
    print(f"[setup] {what}", flush=True)


if __name__ == "__main__":
    main()
