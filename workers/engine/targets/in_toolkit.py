"""Runtimes that lie in a toolkit: converted there, and run in a process of its Python."""

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.export import ExportedProgram

from whetstone.contract.reports import OperatorTime
from whetstone.contract.targets import AS_USUAL, RuntimeSettings
from whetstone.contract.toolkits import Toolkit
from workers.engine.targets.builder import OperatorRefused, ToolkitMissing
from workers.engine.targets.exported import node_behind
from workers.engine.targets.remote import RemoteSession, require_one_stream
from workers.engine.targets.runtime import Arrays, Session, TargetBuildFailed, first_line
from workers.engine.toolkits.environments import is_built, place_of, python_in
from workers.engine.toolkits.running import Python, ScriptFailed, run_module

CONVERTERS = "workers.engine.toolkits.converters"


def converted(
    toolkit: Toolkit, module: str, program: ExportedProgram, request: Mapping[str, object], folder: Path
) -> dict[str, Any]:
    """What a converter answers that is given the program as a file.

    Raises: OperatorRefused, TargetBuildFailed, ToolkitMissing.
    """
    if not is_built(toolkit):
        raise ToolkitMissing(toolkit)
    folder.mkdir(parents=True)
    with warnings.catch_warnings(action="ignore"):
        torch.export.save(program, folder / "program.pt2")
    asked = {"program": str((folder / "program.pt2").absolute()), **request}
    (folder / "request.json").write_text(json.dumps(asked))
    python = Python(python_in(place_of(toolkit)))
    try:
        run_module(python, f"{CONVERTERS}.{module}", ("request.json", "answer.json"), folder, {})
        found: dict[str, Any] = json.loads((folder / "answer.json").read_text())
    except ScriptFailed as error:
        raise TargetBuildFailed(f"{toolkit} broke off: {error}") from error
    finally:
        shutil.rmtree(folder)
    if told := found.get("refused"):
        raise _refused(toolkit, program, told)
    return found


def _refused(toolkit: Toolkit, program: ExportedProgram, told: str) -> OperatorRefused | TargetBuildFailed:
    node, line = node_behind(program, told), first_line(RuntimeError(told))
    if node is None:
        return TargetBuildFailed(f"{toolkit} cannot convert the model: {line}")
    return OperatorRefused(f"{toolkit} cannot convert node '{node}': {line}", layer=node)


class ToolkitRuntime:
    """What is alike in all of them: the file is loaded as it is, on fixed shapes, by one caller at a time."""

    toolkit: ClassVar[Toolkit]
    media_type = "application/octet-stream"

    def __init__(self, settings: RuntimeSettings = AS_USUAL) -> None:
        self._settings = settings

    def unpack(self, artifact: Path, folder: Path) -> Path:  # noqa: ARG002
        return artifact

    def load(self, file: Path, threads: int) -> Session:
        require_one_stream(self._settings)
        return RemoteSession(self.toolkit, file, self._settings.threads or threads)

    def operators(self, file: Path, inputs: Arrays, threads: int, scratch: Path) -> tuple[OperatorTime, ...]:  # noqa: ARG002
        """None of these runtimes times its operators in the builds that packages have."""
        return ()
