"""PyTorch's own archives: torch.export's (.pt2) and TorchScript. Read where they can be shut in, and nowhere else."""

from pathlib import Path
from typing import Literal

from whetstone.contract.toolkits import Toolkit
from workers.engine.graph.graph import Graph
from workers.engine.importers.converted import folder_of, read_converted
from workers.engine.importers.formats import Format
from workers.engine.importers.instead import FROM_TORCH
from workers.engine.importers.pt2_filter import filtered
from workers.engine.importers.script_filter import filtered_script
from workers.engine.toolkits.running import python_of, run_module

Kind = Literal[Format.TORCH_EXPORT, Format.TORCHSCRIPT]
CONVERTER = "workers.engine.toolkits.converters.torch_models"


def read_archive(path: Path, kind: Kind, scratch: Path) -> Graph:
    """The model as ONNX. Raises UnsafeFile, UnsupportedFormat, UnsupportedOp, InvalidModel, ToolkitMissing,
    ScriptFailed.
    """
    folder = folder_of(scratch)
    folder.mkdir()
    data = folder / "data.zip"
    filtered(path, data) if kind is Format.TORCH_EXPORT else filtered_script(path, data)
    run_module(python_of(Toolkit.TORCH_ARCHIVES, FROM_TORCH), CONVERTER, (kind, data.name, "."), folder, {})
    return read_converted(folder)
