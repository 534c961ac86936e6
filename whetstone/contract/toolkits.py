"""Toolkits: converters and runtimes that cannot be installed beside the others."""

from enum import StrEnum


class Toolkit(StrEnum):
    """Each is an environment of its own, which a worker has or has not."""

    LITERT = "litert"
    TENSORFLOW = "tensorflow"
    TRANSFORMERS = "transformers"
    TIMM = "timm"
    TORCH_ARCHIVES = "torch-archives"
    TENSORRT_RTX = "tensorrt-rtx"
