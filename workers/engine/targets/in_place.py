"""Runtimes of toolkits, in a process of the toolkit's own Python: what is measured."""

from pathlib import Path

from whetstone.contract.reports import OperatorTime
from whetstone.contract.targets import RuntimeSettings
from whetstone.contract.toolkits import Toolkit
from workers.engine.targets import fixed_batch
from workers.engine.targets.remote import require_one_stream
from workers.engine.targets.runtime import Arrays, Session


class InPlace:
    def __init__(self, toolkit: Toolkit, settings: RuntimeSettings) -> None:
        self._toolkit, self._settings = toolkit, settings

    def unpack(self, artifact: Path, folder: Path) -> Path:  # noqa: ARG002
        return artifact

    def load(self, file: Path, threads: int) -> Session:
        require_one_stream(self._settings)
        return fixed_batch.load(self._toolkit, file, self._settings.threads or threads)

    def operators(self, file: Path, inputs: Arrays, threads: int, scratch: Path) -> tuple[OperatorTime, ...]:  # noqa: ARG002
        """None of these runtimes times its operators in the builds that packages have."""
        return ()
