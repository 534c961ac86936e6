"""To float16 and to bfloat16, and what stays in float32."""

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from workers.engine.graph.edit import drop_unread
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import Layer, layers_of
from workers.engine.graph.ops.program import Unsupported
from workers.engine.passes.checks import probes
from workers.engine.passes.errors import CalibrationFailed, NothingToDo
from workers.engine.passes.graph_pass import Outcome
from workers.engine.passes.half import halved, out_of_range
from workers.engine.passes.prepared import Prepared
from workers.engine.passes.ranges import Ranges, find_ranges, with_shapes
from workers.engine.passes.stored import inner_layers, stored
from workers.engine.passes.survival import put_back
from workers.engine.passes.watching import Batches

ROUNDS = 10
"""How often the nodes where NaN or infinity first appears are put back to float32."""
MOST_NOTES = 20
LARGEST_BRAIN_FLOAT = 3.3895e38
CASTS_BRAIN_FLOATS = 13
"""The opset from which Cast knows bfloat16."""
NOT_FINITE = "it becomes NaN or infinite in float16"
ONLY_CONSTANTS = "Without samples only constants were checked for overflow."


def half_floats(prepared: Prepared) -> Outcome:
    """Compute in float16, but for nodes where something would overflow, vanish, or become NaN on samples."""
    graph, batches = prepared.graph, _batches(prepared)
    ranges = _ranges(prepared, batches) if batches else {}
    reasons = out_of_range(graph, ranges) | prepared.reasons
    model = with_shapes(graph)
    after, unchecked = halved(model, list(reasons)), ""
    try:
        for _ in range(ROUNDS if batches else 0):
            wider = put_back(graph, model, after, batches or list, reasons)
            if not wider:
                break
            reasons |= dict.fromkeys(wider, NOT_FINITE)
            after = halved(model, list(reasons))
    except Unsupported as error:
        unchecked = (
            f"Not run in float16 here, since '{error.node.name}' is a {error.node.op}; only ranges were checked."
        )
    result, layers = Graph(after, upgraded_from=graph.upgraded_from), layers_of(graph)
    changes = (*(stored(layer, "float16", reasons.get(layer.name)) for layer in layers), *inner_layers(graph))
    mine = {name: reason for name, reason in reasons.items() if name not in prepared.reasons}
    summary = f"Converted to float16{f', {len(mine)} nodes kept in float32' if mine else ''}."
    others = [f"'{name}' stays in float32: {mine[name]}." for name in mine if name not in {c.name for c in changes}]
    notes = (*_some(others), *filter(None, [unchecked, "" if batches else ONLY_CONSTANTS]))
    return Outcome(result, summary, changes, notes=notes)


def _some(notes: list[str]) -> list[str]:
    more = len(notes) - MOST_NOTES
    return [*notes[:MOST_NOTES], f"{more} more nodes stay in float32."] if more > 0 else notes


def _batches(prepared: Prepared) -> Batches | None:
    """Calibration samples, or random ones where inputs can be made up and the model takes them; else None."""
    if prepared.calibration is not None:
        return prepared.calibration.inputs
    made = probes(prepared.graph, None)
    try:
        _ranges(prepared, lambda: made)
    except CalibrationFailed:  # a made-up input may well be none that the model was made for
        return None
    return (lambda: made) if made else None


def _ranges(prepared: Prepared, batches: Batches) -> Ranges:
    context = prepared.context
    return find_ranges(with_shapes(prepared.graph), batches, context.scratch, context.threads)


def brain_floats(prepared: Prepared) -> Outcome:
    """Store weights in bfloat16, and turn them to float32 where they are used. Raises NothingToDo."""
    graph = prepared.graph
    if graph.opset < CASTS_BRAIN_FLOATS:
        raise NothingToDo(
            f"The model uses opset {graph.opset}, which has no bfloat16.",
            hint=f"Export it with opset {CASTS_BRAIN_FLOATS} or later, or set precision to 'fp16'.",
        )
    layers = layers_of(graph)
    reasons = {layer.name: _why_no_brain_float(graph, layer, prepared) for layer in layers}
    weights = dict.fromkeys(layer.weight for layer in layers if reasons[layer.name] is None)
    shared = {layer.weight for layer in layers if reasons[layer.name] is not None}
    for name in weights:
        if name not in shared:
            _store_as_brain_float(graph, name)
    graph.reindex()
    drop_unread(graph)
    changes = [stored(layer, "bfloat16", reasons[layer.name]) for layer in layers] + inner_layers(graph)
    count = sum(change.kept_because is None for change in changes)
    if not count:
        raise NothingToDo("No weight could be stored in bfloat16: " + (changes[0].kept_because or ""))
    return Outcome(graph, f"Stored {count} of {len(changes)} layers' weights in bfloat16.", tuple(changes))


def _why_no_brain_float(graph: Graph, layer: Layer, prepared: Prepared) -> str | None:
    if layer.name in prepared.reasons:
        return prepared.reasons[layer.name]
    if graph.dtype(layer.weight) != "float32":
        return "its weight is not float32"
    largest = float(np.abs(np.asarray(graph.weight(layer.weight), np.float32)).max(initial=0))
    return None if largest <= LARGEST_BRAIN_FLOAT else f"values up to {largest:.3g} would overflow"


def _store_as_brain_float(graph: Graph, name: str) -> None:
    """The tensor keeps its name, and is now what a Cast makes of the initializer."""
    values = np.asarray(graph.weight(name), np.float32).astype(ml_dtypes.bfloat16)
    narrow = f"{name}_bf16"
    graph.constants[name].CopyFrom(numpy_helper.from_array(values, narrow))
    cast = helper.make_node("Cast", [narrow], [name], f"to/{name}", to=TensorProto.FLOAT)
    graph.model.graph.node.insert(0, cast)
