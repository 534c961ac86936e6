"""A toolkit's process is as confined as the child of the sandbox that starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers.engine.toolkits.environments import build, python_in
from workers.engine.toolkits.running import Python, ScriptFailed, run_module

CONFINED = """
import os, sys
from pathlib import Path
from workers.forkserver import _confine
from workers.engine.toolkits.running import Python, run_module
scratch = Path(sys.argv[1])
_confine(scratch, 2**30, 2**20)
run_module(Python(Path(sys.argv[2])), "tests.engine.toolkits.told_limits", ("told.json",), scratch, {"TOLD": "1"})
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kits")
    (folder / "nothing.txt").write_text("# empty\n")
    build(folder / "nothing-1", folder / "nothing.txt")
    return python_in(folder / "nothing-1")


def test_limits_are_inherited_and_secrets_are_not(tmp_path: Path, python: Path) -> None:
    secret = os.environ | {"WHETSTONE_WORKER_FLEET_TOKEN": "secret"}
    child = subprocess.Popen([sys.executable, "-c", CONFINED, str(tmp_path), str(python)], env=secret)
    assert child.wait() == 0
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["memory"] == [2**30, 2**30]
    assert told["file_size"] == [2**20, 2**20]
    assert told["files"] == [1024, 1024]
    assert told["privileges"] == "1"
    assert told["session"] == child.pid  # it is ended with the step
    assert set(told["variables"]) <= {"HOME", "LANG", "LC_CTYPE", "PATH", "TOLD", "TZ"}
    assert told["prefix"] == str(python.parents[1])


def test_an_end_without_an_answer_is_told(tmp_path: Path, python: Path) -> None:
    with pytest.raises(ScriptFailed, match=r"No module named tests\.engine\.toolkits\.nowhere"):
        run_module(Python(python), "tests.engine.toolkits.nowhere", (), tmp_path, {})
