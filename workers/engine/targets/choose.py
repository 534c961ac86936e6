"""The runtime that belongs to a target, or what builds for it."""

from typing import assert_never

from whetstone.contract.targets import AS_USUAL, RuntimeSettings, Target, toolkit_of
from workers.engine.targets.builder import Builder, OnlyBuilt
from workers.engine.targets.in_place import InPlace
from workers.engine.targets.runtime import Loader, Runtime


def runtime_for(target: Target, settings: RuntimeSettings = AS_USUAL) -> Runtime:
    """The runtime, told these settings. Imports it only when it is asked for.

    A measured process must hold one runtime, or its peak memory counts both. Raises OnlyBuilt.
    """
    match target:
        case Target.ONNXRUNTIME_CPU:
            from workers.engine.targets.onnxruntime_cpu import OnnxRuntimeCpu  # noqa: PLC0415

            return OnnxRuntimeCpu(settings)
        case Target.ONNXRUNTIME_CPU_ORT:
            from workers.engine.targets.onnxruntime_ort import OnnxRuntimeOrt  # noqa: PLC0415

            return OnnxRuntimeOrt(settings)
        case Target.LITERT_CPU:
            from workers.engine.targets.litert import LiteRt  # noqa: PLC0415

            return LiteRt(settings)
        case Target.OPENVINO_CPU:
            from workers.engine.targets.openvino_cpu import OpenVinoCpu, Precision  # noqa: PLC0415

            return OpenVinoCpu(Precision.F32, settings)
        case Target.OPENVINO_CPU_BF16:
            from workers.engine.targets.openvino_cpu import OpenVinoCpu, Precision  # noqa: PLC0415

            return OpenVinoCpu(Precision.BF16, settings)
        case Target.TENSORRT_RTX_SM86 | Target.TENSORRT_RTX_SM89 | Target.TENSORRT_RTX_SM120:
            raise OnlyBuilt(f"Nothing can be run on {target} here: results are built for it ahead of time.")
        case _:
            assert_never(target)


def loader_for(target: Target, settings: RuntimeSettings = AS_USUAL) -> Loader:
    """What runs delivered files in a process that has the target's own Python."""
    toolkit = toolkit_of(target)
    return runtime_for(target, settings) if toolkit is None else InPlace(toolkit, settings)


def builder_for(target: Target) -> Builder | None:
    """What builds for a target that is only built; None for those that results are run on."""
    match target:
        case Target.TENSORRT_RTX_SM86 | Target.TENSORRT_RTX_SM89 | Target.TENSORRT_RTX_SM120:
            from workers.engine.targets.tensorrt_rtx import TensorRtRtx  # noqa: PLC0415

            return TensorRtRtx(target.value.partition("/")[2])
        case Target.ONNXRUNTIME_CPU | Target.ONNXRUNTIME_CPU_ORT | Target.OPENVINO_CPU | Target.OPENVINO_CPU_BF16:
            return None
        case Target.LITERT_CPU:
            return None
        case _:
            assert_never(target)


def delivered_name(target: Target) -> str:
    """`onnxruntime-cpu.onnx`, `openvino-cpu-bf16.zip`: the target's own name, as a file name."""
    return stem_of(target) + (builder_for(target) or runtime_for(target)).suffix


def stem_of(target: Target) -> str:
    return target.value.replace("/", "-")
