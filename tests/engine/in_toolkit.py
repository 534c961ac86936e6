"""Tests that need a toolkit, and models made in it."""

import subprocess
from pathlib import Path

import pytest

from whetstone.contract.toolkits import Toolkit
from workers.engine.toolkits import environments

START = "import runpy, sys; sys.path += filter(None, sys.argv.pop(1).split(':')); runpy.run_path(sys.argv.pop(1))"


def needs(toolkit: Toolkit) -> pytest.MarkDecorator:
    missing = not environments.is_built(toolkit)
    return pytest.mark.skipif(missing, reason=f"the toolkit is not built: {environments.how_to_install(toolkit)}")


def made_by(toolkit: Toolkit, script: Path, folder: Path) -> Path:
    """Run the script in the toolkit's Python and in this folder, which is returned."""
    beside = ":".join(map(str, environments.beneath(toolkit)))
    python = environments.python_in(environments.place_of(toolkit))
    command = [str(python), "-I", "-B", "-W", "ignore", "-c", START, beside, str(script)]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=quiet)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder
