"""Whether every operator of a model is known, and in a version that is."""

from functools import cache

import onnx
from onnx import ModelProto, NodeProto
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

from workers.engine.graph.graph import DEFAULT_DOMAINS, Graph, name_of, opset_of
from workers.engine.graph.reasons import reason_of
from workers.engine.graph.tensors import all_nodes
from workers.engine.importers.errors import InvalidModel, UnsupportedOp, UnsupportedOpset

OLDEST = 13
UPGRADE_TO = 17
"""Before opset 13 axes are attributes and per-channel quantization is missing; 17 is what most exporters write."""


@cache
def _runtime_ops() -> frozenset[tuple[str, str]]:
    return frozenset((schema.domain, schema.name) for schema in get_all_operator_schema())


def _is_known(node: NodeProto, opset: int) -> bool:
    if node.domain not in DEFAULT_DOMAINS:
        return (node.domain, node.op_type) in _runtime_ops()
    try:
        return not onnx.defs.get_schema(node.op_type, opset, "").deprecated
    except onnx.defs.SchemaError:
        return False


def _check_opset(opset: int) -> None:
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise UnsupportedOpset(
            f"The model uses opset {opset}; the newest supported is {newest}.",
            hint=f"Export it with opset_version={UPGRADE_TO}.",
        )


def check_operators(model: ModelProto) -> None:
    """Raises UnsupportedOpset for an opset newer than this service, UnsupportedOp for the first operator that neither
    the standard, nor onnxruntime, nor the file itself defines.
    """
    opset = opset_of(model)
    _check_opset(opset)
    local = {(function.domain, function.name) for function in model.functions}
    for node in all_nodes(model):
        if (node.domain, node.op_type) not in local and not _is_known(node, opset):
            domain = f"{node.domain}." if node.domain else ""
            raise UnsupportedOp(
                f"Node '{name_of(node)}' is a {domain}{node.op_type}, which onnxruntime does not know (opset {opset}).",
                layer=name_of(node),
                hint="Export the model with standard ONNX operators only.",
            )


def upgraded(graph: Graph) -> Graph:
    """The same model in opset 17 if it is older than 13, or names no version as it uses none of the standard operators.

    Raises UnsupportedOpset when it cannot be raised.
    """
    opset = graph.opset
    if opset == 0:
        graph.model.opset_import.add(domain="", version=UPGRADE_TO)
    if opset == 0 or opset >= OLDEST:
        return graph
    try:
        model = onnx.version_converter.convert_version(graph.model, UPGRADE_TO)
        onnx.checker.check_model(model)
    except Exception as error:  # the converter throws many kinds, of which only the message is of use
        raise UnsupportedOpset(
            f"The model uses opset {opset} and could not be raised to {UPGRADE_TO}: {reason_of(error)}",
            hint=f"Export it with opset_version={UPGRADE_TO}.",
        ) from error
    if not model.metadata_props:
        model.metadata_props.extend(graph.model.metadata_props)
    return Graph(model, upgraded_from=opset)


def check_interface(graph: Graph) -> None:
    """Raises InvalidModel unless there are outputs and all that goes in and comes out are tensors."""
    if not graph.outputs:
        raise InvalidModel("The model has no outputs.")
    for value in (*graph.inputs, *graph.outputs):
        if value.dtype.endswith("_type") or value.dtype == "unknown":
            raise InvalidModel(
                f"'{value.name}' is a {value.dtype.removesuffix('_type')}, not a tensor.",
                hint="Export the model so that all its inputs and outputs are tensors (scikit-learn: zipmap=False).",
            )
