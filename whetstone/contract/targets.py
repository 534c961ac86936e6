"""Where a result must run: runtime × device × precision."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from whetstone.contract.toolkits import Toolkit
from whetstone.contract.types import Contract


class Target(StrEnum):
    """Every target the service knows. Which ones can be used now depends on the workers: `GET /v1/targets`."""

    ONNXRUNTIME_CPU = "onnxruntime/cpu"
    ONNXRUNTIME_CPU_ORT = "onnxruntime/cpu/ort"
    OPENVINO_CPU = "openvino/cpu"
    OPENVINO_CPU_BF16 = "openvino/cpu/bf16"
    LITERT_CPU = "litert/cpu"
    TENSORRT_RTX_SM86 = "tensorrt-rtx/sm86"
    TENSORRT_RTX_SM89 = "tensorrt-rtx/sm89"
    TENSORRT_RTX_SM120 = "tensorrt-rtx/sm120"

    @property
    def runtime(self) -> str:
        return self.value.split("/")[0]

    @property
    def in_full(self) -> "Target":
        """The same runtime on the same file, computing in float32: what a loss of accuracy is measured against."""
        return Target.OPENVINO_CPU if self is Target.OPENVINO_CPU_BF16 else self

    @property
    def only_built(self) -> bool:
        """Whether results are built for it ahead of time, on machines that cannot run them."""
        return self in ONLY_BUILT


ONLY_BUILT = frozenset({Target.TENSORRT_RTX_SM86, Target.TENSORRT_RTX_SM89, Target.TENSORRT_RTX_SM120})
"""`sm89` is NVIDIA's compute capability 8.9; what is built for it is for GPUs of that capability alone."""


class GraphOptimization(StrEnum):
    """How far onnxruntime rewrites a graph when it loads it: as far as it can; without changing the layout of tensors;
    or only by folding what is constant or superfluous.
    """

    ALL = "all"
    EXTENDED = "extended"
    BASIC = "basic"


class RuntimeSettings(Contract):
    """What a runtime is told when it loads a result. None is what the measurement says, or the runtime's default.

    `graph_optimization` is onnxruntime's alone. With `streams` so many calls run at once, on `threads` threads all
    together: more samples a second, each at a longer latency.
    """

    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    graph_optimization: GraphOptimization | None = None
    streams: Annotated[int, Field(ge=1, le=256)] | None = None


AS_USUAL = RuntimeSettings()
"""Nothing told: what a runtime does by itself, on the threads of the measurement."""


class HardwareClass(StrEnum):
    """The kind of machine a step needs; also the name of its queue."""

    CPU = "cpu"


class TargetRead(Contract):
    """One target and whether a living worker offers it. What is `only_built` is not run, and takes no search."""

    name: Target
    hardware: HardwareClass
    only_built: bool
    available: bool
    workers: int


def hardware_of(target: Target) -> HardwareClass:
    """The hardware class whose workers can run this target, or build for it where it is only built."""
    match target:
        case Target.ONNXRUNTIME_CPU | Target.ONNXRUNTIME_CPU_ORT | Target.OPENVINO_CPU | Target.OPENVINO_CPU_BF16:
            return HardwareClass.CPU
        case Target.LITERT_CPU:
            return HardwareClass.CPU
        case Target.TENSORRT_RTX_SM86 | Target.TENSORRT_RTX_SM89 | Target.TENSORRT_RTX_SM120:
            return HardwareClass.CPU


def toolkit_of(target: Target) -> Toolkit | None:
    """The toolkit that a worker needs to deliver for this target; None where the engine's own environment does."""
    match target:
        case Target.ONNXRUNTIME_CPU | Target.ONNXRUNTIME_CPU_ORT | Target.OPENVINO_CPU | Target.OPENVINO_CPU_BF16:
            return None
        case Target.LITERT_CPU:
            return Toolkit.LITERT
        case Target.TENSORRT_RTX_SM86 | Target.TENSORRT_RTX_SM89 | Target.TENSORRT_RTX_SM120:
            return Toolkit.TENSORRT_RTX


def queue_of(hardware: HardwareClass, toolkit: Toolkit | None) -> str:
    """The queue of the workers with this hardware, or of those among them that have this toolkit too."""
    return hardware.value if toolkit is None else f"{hardware.value}+{toolkit.value}"
