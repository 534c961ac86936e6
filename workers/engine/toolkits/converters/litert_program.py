"""An exported program as a .tflite file, its inputs and outputs called as they are in the graph.

The request has the `program` (.pt2), the `artifact` to write, the names of `inputs` and `outputs`, and whether the
program is `quantized`.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import flatbuffers
import litert_torch
import torch
from ai_edge_litert import schema_py_generated as schema
from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
from litert_torch.quantize.quant_config import QuantConfig

from workers.engine.toolkits.converters.on_request import answer

IDENTIFIER = b"TFL3"


def convert(request: dict[str, Any]) -> dict[str, Any]:
    program = torch.export.load(request["program"])
    given = program.example_inputs[0]
    made = litert_torch.convert(program.module(), given, quant_config=_static() if request["quantized"] else None)
    artifact = Path(request["artifact"])
    made.export(str(artifact))
    artifact.write_bytes(_named(artifact.read_bytes(), request["inputs"], request["outputs"]))
    return {"version": version("ai-edge-litert")}


def _static() -> QuantConfig:
    """Only tells that the program is quantized: how, it says itself."""
    return QuantConfig(PT2EQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True)))


def _named(model: bytes, inputs: list[str], outputs: list[str]) -> bytes:
    """The converter calls them `args_0`, `output_0` and so on, in the order of the program."""
    found = schema.ModelT.InitFromPackedBuf(model)
    (signature,) = found.signatureDefs
    for tensors, prefix, names in ((signature.inputs, "args_", inputs), (signature.outputs, "output_", outputs)):
        for tensor in tensors:
            tensor.name = names[int(tensor.name.decode().removeprefix(prefix))].encode()
    builder = flatbuffers.Builder(len(model))
    builder.Finish(found.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


if __name__ == "__main__":
    answer(convert)
