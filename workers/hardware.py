"""What this machine is and which targets it can run."""

import os
from importlib.metadata import version

import psutil

from whetstone.contract.steps import Enrol
from whetstone.contract.targets import HardwareClass, Target, toolkit_of
from workers.engine.targets.processor import computes_bf16, cpu_model
from workers.engine.toolkits.environments import is_built
from workers.engine.toolkits.offered import offered


def describe(worker_id: str, name: str, hardware: HardwareClass) -> Enrol:
    return Enrol(
        worker_id=worker_id,
        name=name,
        hardware=hardware,
        targets=tuple(target for target in Target if offers(target)),
        toolkits=offered(),
        version=version("onnxruntime"),
        cpu=cpu_model(),
        cores=os.cpu_count() or 1,
        memory=psutil.virtual_memory().total,
    )


def offers(target: Target) -> bool:
    toolkit = toolkit_of(target)
    if toolkit is not None and not is_built(toolkit):
        return False
    match target:
        case Target.ONNXRUNTIME_CPU | Target.ONNXRUNTIME_CPU_ORT | Target.OPENVINO_CPU:
            return True
        case Target.LITERT_CPU:
            return True
        case Target.OPENVINO_CPU_BF16:
            return computes_bf16()
        case Target.TENSORRT_RTX_SM86 | Target.TENSORRT_RTX_SM89 | Target.TENSORRT_RTX_SM120:
            return True
