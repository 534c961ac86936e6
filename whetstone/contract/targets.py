"""Where a result must run: runtime × device × precision."""

from enum import StrEnum

from whetstone.contract.types import Contract


class Target(StrEnum):
    """Every target the service knows. Which ones can be used now depends on the workers: `GET /v1/targets`."""

    ONNXRUNTIME_CPU = "onnxruntime/cpu"
    OPENVINO_CPU = "openvino/cpu"
    OPENVINO_CPU_BF16 = "openvino/cpu/bf16"

    @property
    def runtime(self) -> str:
        return self.value.split("/")[0]


class HardwareClass(StrEnum):
    """The kind of machine a step needs; also the name of its queue."""

    CPU = "cpu"


class TargetRead(Contract):
    """One target and whether a living worker offers it."""

    name: Target
    hardware: HardwareClass
    available: bool
    workers: int


def hardware_of(target: Target) -> HardwareClass:
    """The hardware class whose workers can run this target."""
    match target:
        case Target.ONNXRUNTIME_CPU | Target.OPENVINO_CPU | Target.OPENVINO_CPU_BF16:
            return HardwareClass.CPU
