"""What each toolkit is for. A new one is a member of `Toolkit`, a case here, and `requirements/toolkits/NAME.in`."""

from typing import NamedTuple, assert_never

from whetstone.contract.targets import Target, toolkit_of
from whetstone.contract.toolkits import Toolkit


class Facts(NamedTuple):
    """The formats that it reads, the modules that must be importable in it, its size once built, in MB, and the package
    of the runtime that it holds.

    One that lies over the engine's environment has only what that lacks; PyTorch is not installed twice. What is
    proprietary is installed only by name, by someone who accepts its licence. What loads files that can hold code is
    shut in, and used only where that can be done.
    """

    formats: tuple[str, ...]
    modules: tuple[str, ...]
    megabytes: int
    over_engine: bool = False
    proprietary: bool = False
    runtime: str | None = None
    shut_in: bool = False


def facts_of(toolkit: Toolkit) -> Facts:
    match toolkit:
        case Toolkit.LITERT:
            return Facts((), ("ai_edge_litert.interpreter", "litert_torch"), 2100, runtime="ai-edge-litert")
        case Toolkit.TENSORFLOW:
            return Facts(("keras", "hdf5", "saved-model", "tflite"), ("tensorflow", "keras", "tf2onnx"), 1700)
        case Toolkit.TENSORRT_RTX:
            return Facts((), ("tensorrt_rtx",), 330, proprietary=True)
        case Toolkit.TRANSFORMERS:
            return Facts(("transformers",), ("transformers", "onnxscript"), 190, over_engine=True)
        case Toolkit.TIMM:
            return Facts(("timm",), ("onnxscript",), 70, over_engine=True)
        case Toolkit.TORCH_ARCHIVES:
            return Facts(("torch-export", "torchscript"), ("onnxscript",), 10, over_engine=True, shut_in=True)
        case _:
            assert_never(toolkit)


def targets_of(toolkit: Toolkit) -> tuple[Target, ...]:
    """The targets that need it."""
    return tuple(target for target in Target if toolkit_of(target) is toolkit)
