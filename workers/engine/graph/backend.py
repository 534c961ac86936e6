"""The interpreter behind ONNX's own Backend interface, by which the standard's tests run it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, TensorProto, ValueInfoProto, helper
from onnx.backend.base import Backend, BackendRep
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

from workers.engine.graph.graph import Graph
from workers.engine.graph.ops.expansion import expanded
from workers.engine.graph.ops.program import Program, Unsupported
from workers.engine.graph.ops.setting import Setting
from workers.engine.graph.ops.values import Host, Value, as_host, natural
from workers.engine.graph.trainable import constants_of, needed


def _taken(value: Any) -> Value:
    """An input as the interpreter holds it: what torch can compute with in torch."""
    if isinstance(value, list):
        return [_taken(v) for v in value]
    return None if value is None else natural(np.asarray(value))


def _given(value: Value, declared: ValueInfoProto | None) -> Any:
    """An output as numpy, in the type that the graph declares."""
    if isinstance(value, list | tuple):
        return [_given(v, None) for v in value]
    if value is None:
        return None
    array = as_host(value)
    kind = declared.type.tensor_type.elem_type if declared is not None else 0
    if kind in (TensorProto.UNDEFINED, TensorProto.STRING):
        return array
    return array.astype(helper.tensor_dtype_to_np_dtype(kind), copy=False)


class Prepared(BackendRep):
    """A model ready to be run on numpy arrays."""

    def __init__(self, model: ModelProto) -> None:
        """Raises Unsupported, naming the node."""
        graph = Graph(expanded(model))
        self._declared = list(graph.model.graph.output)
        outputs = [value.name for value in self._declared]
        inputs = [value.name for value in graph.model.graph.input]
        self._program = Program(needed(graph, outputs), inputs, outputs, constants_of(graph), Setting(literal=True))

    @torch.no_grad()
    def run(self, inputs: Sequence[Any], **_: Any) -> tuple[Any, ...]:
        """The outputs as arrays, or lists of them."""
        made = self._program.run([_taken(value) for value in inputs])
        return tuple(_given(value, declared) for value, declared in zip(made, self._declared, strict=True))


class TorchBackend(Backend):
    """Everything is computed on the CPU."""

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **_: Any) -> Prepared:
        """Raises BackendIsNotSupposedToImplementIt, naming the node, for an op that is not known."""
        del device
        try:
            return Prepared(model)
        except Unsupported as error:
            raise BackendIsNotSupposedToImplementIt(str(error)) from error

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"


__all__ = ["Host", "Prepared", "TorchBackend"]
