"""`KIND SOURCE FOLDER`: see `answering` for what is left in the folder."""

import importlib
import sys
from pathlib import Path

from workers.engine.toolkits.converters.answering import answer

PACKAGE = "workers.engine.toolkits.converters.torch_models"
READERS = {
    "transformers": ("transformers_folders", "read_transformers"),
    "timm": ("timm_files", "read_timm"),
    "torch-export": ("export_archives", "read_export"),
    "torchscript": ("torchscript_files", "read_torchscript"),
}
"""Imported when asked for: each needs another toolkit."""

kind, source, folder = sys.argv[1:]
module, reader = READERS[kind]
if kind == "timm":
    importlib.import_module(f"{PACKAGE}.torchvision_operators")
read = getattr(importlib.import_module(f"{PACKAGE}.{module}"), reader)
answer(lambda: read(Path(source)), Path(folder), "torch.onnx")
