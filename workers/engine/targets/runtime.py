"""What every runtime must be able to do: convert a graph into its own file, load that file, run it, tell facts."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from whetstone.contract.failures import FailureCode
from whetstone.contract.reports import OperatorTime, ShapeRange
from workers.engine.errors import EngineError

Array = NDArray[Any]
Arrays = Mapping[str, Array]
"""Tensors by the name the graph gives them."""

PROFILED_RUNS = 5
WRAPPING = ("Exception from", "Check '", "FrontEnd API failed", "Model wasn't fully converted", "Summary:", "Traceback")


class TargetBuildFailed(EngineError):
    """The target's runtime cannot build this model."""

    code = FailureCode.TARGET_BUILD_FAILED


class PrecisionNotOffered(EngineError):
    """This processor does not compute in the precision of the target."""

    code = FailureCode.TARGET_BUILD_FAILED
    hint = "Choose a target without this precision, or run the job on a worker whose processor has it."


class ProviderFellBack(EngineError):
    """The runtime put the model elsewhere than it was told to."""

    code = FailureCode.TARGET_BUILD_FAILED


class Session(Protocol):
    """A loaded model. With streams a bound call runs the batch once in each of them."""

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """One inference call; inputs and outputs are matched by name, and the outputs belong to the caller."""

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        """The same call with its inputs already in place: what is timed, without the cost of handing them over."""


class Loader(Protocol):
    """What runs delivered files."""

    def unpack(self, artifact: Path, folder: Path) -> Path:
        """The file to load; a delivered archive is opened in `folder` first, which is no part of loading."""

    def load(self, file: Path, threads: int) -> Session:
        """A session ready to run, on `threads` threads unless its settings name another number.

        Raises: TargetBuildFailed, ProviderFellBack.
        """

    def operators(self, file: Path, inputs: Arrays, threads: int, scratch: Path) -> tuple[OperatorTime, ...]:
        """Mean time of each operator over `PROFILED_RUNS` profiled runs, in the order they ran; none where a runtime
        does not tell.
        """


class Runtime(Loader, Protocol):
    """One way to run a model. `suffix` and `media_type` are those of the file it delivers."""

    suffix: str
    media_type: str

    def convert(self, onnx: Path, artifact: Path, shapes: Sequence[ShapeRange] = ()) -> None:
        """Write the delivered file. Where shapes are fixed in it these are the usual ones; a free axis that they do not
        tell has the size 1.

        Raises: TargetBuildFailed, PrecisionNotOffered, OperatorRefused, ToolkitMissing.
        """


def first_line(error: Exception) -> str:
    """The part of a runtime's message that a person can use: C++ runtimes put file and line around it."""
    lines = [line.strip(" -") for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(WRAPPING)]
    return (telling or [type(error).__name__])[0][:300]


def contiguous(inputs: Arrays) -> dict[str, Array]:
    """Runtimes that share memory with numpy need their inputs without strides."""
    return {name: np.ascontiguousarray(array) if array.ndim else array for name, array in inputs.items()}
