"""LiteRT on the CPU (TFLite's new name): a .tflite file for one number of samples.

What `quantize` marked with pairs of QuantizeLinear and DequantizeLinear is computed in 8 bits; inputs and outputs that
are marked are 8-bit integers in the file.
"""

from collections.abc import Sequence
from pathlib import Path

import onnx as onnx_format

from whetstone.contract.reports import ShapeRange
from whetstone.contract.toolkits import Toolkit
from workers.engine.targets.exported import exported
from workers.engine.targets.in_toolkit import ToolkitRuntime, converted

QUANTIZED = "quantized_decomposed"


class LiteRt(ToolkitRuntime):
    toolkit = Toolkit.LITERT
    suffix = ".tflite"

    def convert(self, onnx: Path, artifact: Path, shapes: Sequence[ShapeRange] = ()) -> None:
        program = exported(onnx, shapes, as_floats=True)
        graph = onnx_format.load(onnx, load_external_data=False).graph
        constants = {tensor.name for tensor in graph.initializer}
        request = {
            "artifact": str(artifact.absolute()),
            "inputs": [value.name for value in graph.input if value.name not in constants],
            "outputs": [value.name for value in graph.output],
            "quantized": any(QUANTIZED in str(node.target) for node in program.graph.nodes),
        }
        converted(self.toolkit, "litert_program", program, request, artifact.with_suffix(".parts"))
