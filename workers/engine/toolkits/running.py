"""Running a module in a toolkit's Python: in a process as confined as the sandboxed child that starts it."""

import os
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.toolkits import Toolkit
from workers.engine.errors import EngineError
from workers.engine.toolkits import jail
from workers.engine.toolkits.catalogue import facts_of
from workers.engine.toolkits.environments import beneath, how_to_install, is_built, place_of, python_in
from workers.engine.toolkits.offered import why_not

ROOT = Path(__file__).parents[3]
START = """
import runpy, sys
sys.path += sys.argv.pop(1).split(":")
runpy.run_module(sys.argv.pop(1), run_name="__main__")
"""
LOG = "log.txt"
TAIL = 2000
OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "OOM when allocating", "Cannot allocate memory")


class ToolkitMissing(EngineError):
    """This worker does not have the toolkit."""

    code = FailureCode.NO_WORKER

    def __init__(self, toolkit: Toolkit, instead: str) -> None:
        advice = f"Install it on a worker (`{how_to_install(toolkit)}`) and start that anew. Or: {instead}"
        super().__init__(f"This needs the toolkit `{toolkit}`.", hint=advice)
        self.toolkit = toolkit

    def as_failure(self) -> Failure:
        return super().as_failure().model_copy(update={"toolkit": self.toolkit})


class ScriptFailed(EngineError):
    """The model crashed the toolkit that was to read it."""

    code = FailureCode.RUNTIME_CRASHED
    hint = "Run the model in its own framework: it should end in the same way there."


class Python(NamedTuple):
    """An interpreter, and where it finds what its own environment lacks. With `alone_with` it is shut in: that is all
    that it sees, beside the folder it runs in.
    """

    executable: Path
    beside: tuple[Path, ...] = (ROOT,)
    alone_with: tuple[Path, ...] = ()


def python_of(toolkit: Toolkit, instead: str) -> Python:
    """The Python of the toolkit. Raises ToolkitMissing, whose hint ends in what can be done `instead`."""
    if not is_built(toolkit) or why_not(toolkit) is not None:
        raise ToolkitMissing(toolkit, instead)
    place = place_of(toolkit)
    shut_in = facts_of(toolkit).shut_in and jail.why_not() is None
    return Python(
        python_in(place),
        (ROOT, *beneath(toolkit)),
        (place.resolve(), ROOT / "workers") if shut_in else (),
    )


def run_module(
    python: Python, module: str, arguments: tuple[str, ...], folder: Path, variables: dict[str, str]
) -> None:
    """Run it in `folder`, which gets its output too; limits and time are those of the process that calls.

    It sees nothing of the engine's environment but `variables` and where programs are found. Raises ScriptFailed, and
    MemoryError when it ran out of memory.
    """
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    beside = ":".join(map(str, python.beside))
    shut_in = jail.command(folder, python.alone_with) if python.alone_with else []
    command = [*shut_in, str(python.executable), "-I", "-B", "-c", START, beside, module, *arguments]
    with (folder / LOG).open("wb") as log:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=kept | {"HOME": str(folder)} | variables,
            check=False,
        )
    if done.returncode != 0:
        raise _why(done.returncode, (folder / LOG).read_bytes()[-TAIL:].decode(errors="replace"))


def _why(status: int, told: str) -> Exception:
    if any(words in told for words in OUT_OF_MEMORY):
        return MemoryError(told)
    if status < 0:
        return ScriptFailed(f"The model crashed the toolkit that was to read it ({signal.Signals(-status).name}).")
    return ScriptFailed(f"The toolkit failed: {(told.strip().splitlines() or ['it does not say why'])[-1][:300]}")
