"""Where the environments of toolkits are, and how they are made.

Each lies in a folder named after the toolkit and the hash of its lock file, outside the checkout, so that it is made
once for all checkouts, and a changed lock file gets a new one. It appears there whole or not at all.
"""

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

from whetstone.contract.toolkits import Toolkit
from workers.engine.toolkits.catalogue import facts_of

FOLDER_VARIABLE = "WHETSTONE_WORKER_TOOLKITS"
LOCKS = Path(__file__).parents[3] / "requirements" / "toolkits"
CHECK_SECONDS = 300
CUDA_PARTS = re.compile(r"^(nvidia-|triton|cuda-)")
_CHECK = """
import importlib, sys
sys.path += filter(None, sys.argv.pop(1).split(":"))
for name in sys.argv[1:]:
    print(name, getattr(importlib.import_module(name), "__version__", ""))
"""


class NotBuilt(Exception):
    """The toolkit could not be built, or does not work."""


def folder() -> Path:
    """All environments lie in here: what `WHETSTONE_WORKER_TOOLKITS` says, or the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(FOLDER_VARIABLE) or cache / "whetstone" / "toolkits").absolute()


def lock_of(toolkit: Toolkit) -> Path:
    return LOCKS / f"{toolkit}.txt"


def packages_in(toolkit: Toolkit) -> dict[str, str]:
    """The versions that its lock file names, by package."""
    lines = lock_of(toolkit).read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def place_of(toolkit: Toolkit) -> Path:
    """The folder of the environment, whether it has been built or not."""
    return folder() / f"{toolkit}-{_fingerprint(lock_of(toolkit))}"


def python_in(place: Path) -> Path:
    return place / "bin" / "python"


def beneath(toolkit: Toolkit) -> tuple[Path, ...]:
    """Where the packages are that a toolkit lies over: the engine's own, for one that does."""
    return (Path(sysconfig.get_path("purelib")),) if facts_of(toolkit).over_engine else ()


def is_built(toolkit: Toolkit) -> bool:
    return place_of(toolkit).is_dir()


def built() -> tuple[Toolkit, ...]:
    return tuple(toolkit for toolkit in Toolkit if is_built(toolkit))


def _fingerprint(lock: Path) -> str:
    """Changes with what is installed and with the Python and the machine it is installed for."""
    made_for = f"{sys.implementation.cache_tag} {platform.machine()}".encode()
    return hashlib.sha256(made_for + b"\0" + lock.read_bytes()).hexdigest()[:16]


def install(toolkit: Toolkit) -> Path:
    """Build the environment unless it is there. Raises NotBuilt."""
    place = place_of(toolkit)
    build(place, lock_of(toolkit))
    return place


def build(place: Path, lock: Path) -> None:
    """Make an environment of what `lock` names at `place`; who asks for the same meanwhile waits. Raises NotBuilt."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if place.is_dir():
            return
        unfinished = Path(tempfile.mkdtemp(prefix="building-", dir=place.parent))
        try:
            venv.create(unfinished, symlinks=True)
            _pip(python_in(unfinished), lock)
            unfinished.chmod(0o755)
            unfinished.rename(place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _pip(python: Path, lock: Path) -> None:
    """PyTorch first, so that what is left is satisfied by it, whatever build it is."""
    index = os.environ.get("TORCH_INDEX")
    source = ("--index-url", index) if index else ()
    for torch in re.findall(r"^torch==\S+", lock.read_text(), re.MULTILINE):
        plan = json.loads(_install(python, lock, "--dry-run", "--report", "-", *source, torch))
        needs = [need for item in plan["install"] for need in item["metadata"].get("requires_dist", ())]
        if any(CUDA_PARTS.match(need) for need in needs):
            raise NotBuilt(f"The package index has {torch} for CUDA only: set TORCH_INDEX to one that has CPU builds.")
        _install(python, lock, *source, torch)
    _install(python, lock, "--requirement", str(lock))


def _install(python: Path, lock: Path, *arguments: str) -> str:
    """With this environment's pip, so that the new one needs none. Lock files are complete: nothing is resolved."""
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", *arguments]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise NotBuilt(f"pip could not install {lock.name}; it says why above.")
    return done.stdout


def check(toolkit: Toolkit) -> str:
    """Import what the toolkit is for, in its own Python. Returns the versions. Raises NotBuilt."""
    if not is_built(toolkit):
        raise NotBuilt(f"It is not built: {how_to_install(toolkit)}")
    engine = ":".join(map(str, beneath(toolkit)))
    command = [str(python_in(place_of(toolkit))), "-I", "-c", _CHECK, engine, *facts_of(toolkit).modules]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        told = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise NotBuilt(f"It does not work: {told}. Delete {place_of(toolkit)} and install it again.") from error
    return ", ".join(done.stdout.splitlines())


def how_to_install(toolkit: Toolkit) -> str:
    return f"python -m workers toolkits install {toolkit}"
