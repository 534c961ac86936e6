"""What TensorRT's parser, builder and log say, in words that help: the cause, the node, and what to do."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from whetstone.contract.reports import Kernel
from workers.engine.errors import EngineError
from workers.engine.targets.builder import OperatorRefused
from workers.engine.targets.runtime import TargetBuildFailed

IN_FORM = "Quantize in NVIDIA's form: `quantize` with `form: nvidia`."
NARROWED = "Export the model in float32."
NO_FP8 = "Build for compute capability 8.9 or newer, or quantize to int8."
ON_BLOCKS = "TensorRT takes weights in blocks beside float16 activations only: quantize to fp16, or to int8 as above."

INTEGERS = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QLinearConv",
    "QLinearMatMul",
})  # fmt: skip
REMEDIES = dict.fromkeys(INTEGERS, IN_FORM) | {"MatMulNBits": f"{IN_FORM} {ON_BLOCKS}"}

WRAPPED = re.compile(r"Error Code \d+: [^(]*\((?:\[[^\]]*\] )?(?P<told>.*?)\.? In \w+ at .*\)", re.DOTALL)
"""How the builder's errors are packed: API, code, the place in its source, what it says, another place."""

QUOTED = re.compile(r'"([^"]+)"')
HARDWARE = re.compile(r"Cannot compile for target\(s\) (\w+), because .*: (\w+)")
KERNEL = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>\w+), (?P<rest>.*)$", re.MULTILINE)
TYPE = re.compile(r"Datatype: (\w+)")
NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")

PRECISIONS = {"Float": "f32", "Half": "f16", "BFloat16": "bf16", "FP8": "f8", "Int8": "i8", "Int32": "i32"}
PRECISIONS |= {"Int64": "i64", "Bool": "bool", "UInt8": "u8", "Int4": "i4", "FP4": "f4"}
"""TensorRT's words, and how this engine writes types."""


def kernels_in(layers: str) -> Iterator[Kernel]:
    """From the builder's list of what it made: what computes, in the order that it is listed."""
    for found in KERNEL.finditer(layers):
        types = TYPE.findall(found["rest"])
        if types:
            yield Kernel(
                name=found["name"],
                kind=found["kind"],
                precision=PRECISIONS.get(types[0], types[0].lower()),
                nodes=tuple(dict.fromkeys(NODE.findall(found["rest"]))),
            )


def notes_in(log: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """The warnings, each once."""
    yield from dict.fromkeys(line["text"].strip() for line in log if line["severity"] == "WARNING")


def failure_of(answer: Mapping[str, Any], names: Sequence[str]) -> EngineError:
    """Why nothing was built: what the parser refuses, or else the builder's first error; `names` are of the nodes."""
    errors: Sequence[Mapping[str, Any]] = answer["errors"]
    if errors:
        return _refused([error | {"node": _node(error, names)} for error in map(dict, errors)])
    told = next((line["text"] for line in answer["log"] if line["severity"] != "WARNING"), "no reason was given")
    return _not_built(told)


def _node(error: Mapping[str, Any], names: Sequence[str]) -> str:
    """The parser knows only what a node was called in the file, which may be nothing."""
    known = error["op"] and 0 <= error["index"] < len(names)
    return str(error["node"] or (names[error["index"]] if known else ""))


def _refused(errors: Sequence[Mapping[str, str]]) -> EngineError:
    """All that the parser refuses, with the first node among it and a remedy for its operator."""
    first = next((error for error in errors if error["op"]), errors[0])
    told = "; ".join(dict.fromkeys(_told(error) for error in errors))
    message = f"TensorRT's parser refuses {told}."[:2000]
    return OperatorRefused(message, layer=first["node"] or None, hint=REMEDIES.get(first["op"]))


def _told(error: Mapping[str, str]) -> str:
    what = f"{error['op']} '{error['node']}'" if error["op"] else "an input or output"
    quoted = QUOTED.findall(error["text"])
    text = quoted[-1] if quoted else error["text"].rpartition(": ")[2]
    return what if text == "false" else f"{what} ({text.strip().rstrip('.')})"


def _not_built(text: str) -> EngineError:
    wrapped = WRAPPED.search(text)
    told = wrapped["told"] if wrapped else text
    if hardware := HARDWARE.search(told):
        return TargetBuildFailed(f"GPUs of {hardware[1]} do not compute in {hardware[2]}.", hint=NO_FP8)
    return TargetBuildFailed(f"TensorRT cannot build the engine: {' '.join(told.split())}"[:500])
