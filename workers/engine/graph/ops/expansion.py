"""Ops that are not in the table are written out in simpler ones, where the standard defines them so."""

from typing import Any

from onnx import ModelProto, defs
from onnx.inliner import inline_selected_functions

from workers.engine.graph.graph import DEFAULT_DOMAINS
from workers.engine.graph.ops.table import OPS
from workers.engine.graph.tensors import all_nodes


def _is_defined_by_others(op: str, domain: str, opset: int) -> bool:
    try:
        schema = defs.get_schema(op, opset, domain)
    except defs.SchemaError:
        return False
    given: Any = schema  # its type stub is older than these two
    return bool(given.has_function or given.has_context_dependent_function)


def unknown_functions(model: ModelProto) -> list[tuple[str, str]]:
    """Domain and name of ops in use that are unknown, and for which the standard gives a body."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    used = {(node.domain, node.op_type) for node in all_nodes(model)}
    return sorted(
        (domain, op)
        for domain, op in used
        if not (domain in DEFAULT_DOMAINS and op in OPS)
        and _is_defined_by_others(op, domain, versions.get(domain, max(versions.values(), default=1)))
    )


def expanded(model: ModelProto) -> ModelProto:
    """The model, or one with its unknown ops and its own functions written out. Names of values stay."""
    wanted = unknown_functions(model)
    own = [(function.domain, function.name) for function in model.functions]
    if not wanted and not own:
        return model
    return inline_selected_functions(model, [*wanted, *own], inline_schema_functions=True)
