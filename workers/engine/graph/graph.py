"""The ONNX model as a thing to read and edit in place; names, dynamic axes and metadata stay as they came."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from whetstone.calibration.arrays import Array
from whetstone.contract.models import TensorFacts
from workers.engine.graph.storage import save_model
from workers.engine.graph.tensors import dtype_name, tensor_facts

DEFAULT_DOMAINS = ("", "ai.onnx")
FORWARDING = frozenset({"Identity", "Cast", "Transpose", "QuantizeLinear", "DequantizeLinear"})
"""Ops through which a weight keeps being that weight: other type, other order, same parameters."""


def name_of(node: NodeProto) -> str:
    """A node's name, or its first output's, which is unique too, where exporters left the name empty."""
    return node.name or next((output for output in node.output if output), node.op_type)


def opset_of(model: ModelProto) -> int:
    """The version of the standard operators; 0 for a model that uses none."""
    return next((o.version for o in model.opset_import if o.domain in DEFAULT_DOMAINS), 0)


def attribute(node: NodeProto, name: str, default: int) -> int:
    """An integer attribute of a node."""
    return next((a.i for a in node.attribute if a.name == name), default)


def _constant_tensor(node: NodeProto) -> TensorProto | None:
    """The value of a Constant node; None for the text and sparse kinds, which hold no weights."""
    given = node.attribute[0] if node.attribute else AttributeProto()
    match given.name:
        case "value":
            tensor: TensorProto = given.t
            return tensor
        case "value_float" | "value_floats":
            return numpy_helper.from_array(np.array(helper.get_attribute_value(given), np.float32))
        case "value_int" | "value_ints":
            return numpy_helper.from_array(np.array(helper.get_attribute_value(given), np.int64))
        case _:
            return None


class Graph:
    """Wraps a ModelProto, which it owns. After changing nodes or initializers by hand, call `reindex`.

    `upgraded_from` is the opset the file came with when the importer had to raise it.
    """

    def __init__(self, model: ModelProto, *, upgraded_from: int | None = None) -> None:
        self.model = model
        self.upgraded_from = upgraded_from
        self.reindex()

    def reindex(self) -> None:
        """Look up constants, producers and consumers anew."""
        self._constants: dict[str, TensorProto] = {}
        self._producers: dict[str, NodeProto] = {}
        self._consumers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.model.graph.node:
            self._index(node)
        self._constants |= {tensor.name: tensor for tensor in self.model.graph.initializer}

    def _index(self, node: NodeProto) -> None:
        self._producers |= dict.fromkeys(filter(None, node.output), node)
        for name in dict.fromkeys(filter(None, node.input)):
            self._consumers[name].append(node)
        if node.op_type == "Constant" and node.domain in DEFAULT_DOMAINS and node.output:
            tensor = _constant_tensor(node)
            if tensor is not None:
                self._constants[node.output[0]] = tensor

    def copy(self) -> Self:
        """An independent graph with the same content."""
        model = ModelProto()
        model.CopyFrom(self.model)
        return type(self)(model, upgraded_from=self.upgraded_from)

    def save(self, path: Path) -> tuple[Path, ...]:
        """Write the model to `path`, with `<name>.data` beside it from 2 GiB on. Returns the files written."""
        return save_model(self.model, path)

    @property
    def opset(self) -> int:
        return opset_of(self.model)

    @property
    def nodes(self) -> Sequence[NodeProto]:
        """The top-level nodes in the order they run."""
        return tuple(self.model.graph.node)

    @property
    def inputs(self) -> tuple[TensorFacts, ...]:
        """What must be fed: inputs that have no initializer."""
        return tuple(tensor_facts(v) for v in self.model.graph.input if v.name not in self._constants)

    @property
    def outputs(self) -> tuple[TensorFacts, ...]:
        return tuple(tensor_facts(value) for value in self.model.graph.output)

    def find(self, name: str) -> NodeProto | None:
        """The node of this name; None if there is none."""
        return next((node for node in self.model.graph.node if name_of(node) == name), None)

    def producer(self, tensor: str) -> NodeProto | None:
        """The node that makes a tensor; None for inputs and initializers."""
        return self._producers.get(tensor)

    def consumers(self, tensor: str) -> tuple[NodeProto, ...]:
        return tuple(self._consumers.get(tensor, ()))

    @property
    def constants(self) -> dict[str, TensorProto]:
        """Initializers and Constant nodes by tensor name."""
        return self._constants

    def source(self, tensor: str) -> str | None:
        """The constant that a tensor is, seen through Identity, Cast, Transpose and Q/DQ; None if it is computed."""
        while tensor not in self._constants:
            producer = self.producer(tensor)
            if producer is None or producer.op_type not in FORWARDING:
                return None
            tensor = producer.input[0]
        return tensor

    def dtype(self, name: str) -> str:
        """The numpy name of a constant's type, without reading its values."""
        return dtype_name(self._constants[name].data_type)

    def weight(self, name: str) -> Array:
        """The values of a constant; may be read-only."""
        return numpy_helper.to_array(self._constants[name])

    def set_weight(self, name: str, values: Array) -> None:
        """Replace the values of a constant, in the initializer or Constant node that holds them."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), name)
        producer = self.producer(name)
        if producer is None:
            self._constants[name].CopyFrom(tensor)
            return
        del producer.attribute[:]
        producer.attribute.append(helper.make_attribute("value", tensor))
        self._constants[name] = producer.attribute[0].t
