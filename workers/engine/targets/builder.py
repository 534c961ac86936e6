"""What is asked of a target that results can be built for, but not run on here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.reports import EngineKey, Kernel, ShapeRange
from whetstone.contract.toolkits import Toolkit
from workers.engine.errors import EngineError
from workers.engine.toolkits.environments import how_to_install


class OnlyBuilt(EngineError):
    """Nothing can be run on this target: results are built for it ahead of time."""

    code = FailureCode.TARGET_BUILD_FAILED
    hint = "Give a recipe: searching and tuning measure on the target."


class OperatorRefused(EngineError):
    """The target does not take a part of the model."""

    code = FailureCode.UNSUPPORTED_OP
    hint = "Take another target for this model, or replace the operator where the model was made."


class ToolkitMissing(EngineError):
    """This worker does not have what builds for the target."""

    code = FailureCode.NO_WORKER

    def __init__(self, toolkit: Toolkit) -> None:
        super().__init__(f"This worker does not have the toolkit `{toolkit}`.", hint=how_to_install(toolkit))
        self._toolkit = toolkit

    def as_failure(self) -> Failure:
        return super().as_failure().model_copy(update={"toolkit": self._toolkit})


@dataclass(frozen=True)
class Built:
    """An engine: what it fits, how long building took, its kernels as the builder tells them, and its warnings."""

    key: EngineKey
    seconds: float
    kernels: tuple[Kernel, ...]
    notes: tuple[str, ...]


class Builder(Protocol):
    """One kind of engine. `suffix` and `media_type` are those of the file it delivers."""

    suffix: str
    media_type: str

    def build(self, onnx: Path, engine: Path, shapes: Sequence[ShapeRange], scratch: Path) -> Built:
        """Write the engine of a graph, for inputs of these shapes.

        Raises: OperatorRefused, TargetBuildFailed, ToolkitMissing.
        """
