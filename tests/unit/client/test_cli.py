"""What holds for every command of `whet`: it can print JSON, says what it is for, and is completed by the shell."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from whetstone.cli import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    within = getattr(command, "commands", {})
    for name, each in within.items():
        yield from commands(each, (*path, name))
    if path and (not within or command.invoke_without_command):
        yield " ".join(path), command


ALL = dict(commands(get_command(app)))


@pytest.mark.parametrize("name", ALL)
def test_every_command_prints_json_and_says_what_it_is_for(name: str) -> None:
    command = ALL[name]
    assert "--json" in {option for parameter in command.params for option in parameter.opts}
    assert command.help


def test_there_are_many_commands() -> None:
    assert {"optimize", "jobs list", "datasets preview", "usage", "calibrate"} <= ALL.keys()


def completed(shell: str, **given: str) -> list[str]:
    """What the shell is told when it asks."""
    environment = os.environ | {"_WHET_COMPLETE": f"complete_{shell}"} | given
    command = [sys.executable, "-c", "from whetstone.cli import app; app(prog_name='whet')"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.split()


def test_commands_options_and_values_are_completed_in_bash() -> None:
    assert completed("bash", COMP_WORDS="whet opt", COMP_CWORD="1") == ["optimize"]
    assert completed("bash", COMP_WORDS="whet datasets pre", COMP_CWORD="2") == ["preview"]
    assert "--preprocessing" in completed("bash", COMP_WORDS="whet optimize m.onnx --pre", COMP_CWORD="3")
    assert "static" in completed("bash", COMP_WORDS="whet optimize m.onnx --quantize st", COMP_CWORD="4")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells(shell: str) -> None:
    given = {"_TYPER_COMPLETE_ARGS": "whet opt", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert "optimize" in " ".join(completed(shell, **given))
