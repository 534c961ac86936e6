"""To float16 and to bfloat16, and what stays in float32."""

import ml_dtypes
import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from whetstone.calibration.arrays import Batches
from workers.engine.graph.edit import drop_unread
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import Layer, layers_of
from workers.engine.graph.ops.program import Unsupported
from workers.engine.passes.checks import probes
from workers.engine.passes.errors import CalibrationFailed, NothingToDo
from workers.engine.passes.graph_pass import Outcome
from workers.engine.passes.quantizing.half import halved, out_of_range
from workers.engine.passes.quantizing.prepared import Prepared
from workers.engine.passes.quantizing.ranges import Ranges, find_extremes, with_shapes
from workers.engine.passes.quantizing.stored import inner_layers, stored
from workers.engine.passes.quantizing.survival import put_back

ROUNDS = 10
"""How often the nodes where NaN or infinity first appears are put back to float32."""
MOST_NOTES = 20
LARGEST_BRAIN_FLOAT = 3.3895e38
CASTS_BRAIN_FLOATS = 13
"""The opset from which Cast knows bfloat16."""
NOT_FINITE = "it becomes NaN or infinite in float16"
UNTRIED = "Not tried in float16, since '{name}' is a {op}, which cannot be run here; only ranges were checked."
ONLY_CONSTANTS = "Without samples only constants were checked for overflow."


def half_floats(prepared: Prepared) -> Outcome:
    """Compute in float16, but for nodes where something would overflow, vanish, or become NaN on samples."""
    graph, batches = prepared.graph, _batches(prepared)
    reasons = out_of_range(graph, _ranges(prepared, batches)) | prepared.reasons
    notes = [] if any(True for _ in batches()) else [ONLY_CONSTANTS]
    try:
        after = _surviving(graph, batches, reasons)
    except Unsupported as error:
        after = halved(with_shapes(graph), list(reasons))
        notes.append(UNTRIED.format(name=error.node.name, op=error.node.op))
    changes = [*(stored(layer, "float16", reasons.get(layer.name)) for layer in layers_of(graph)), *inner_layers(graph)]
    mine = {name: reason for name, reason in reasons.items() if name not in prepared.reasons}
    summary = f"Converted to float16{f', {len(mine)} nodes kept in float32' if mine else ''}."
    others = [f"'{name}' stays in float32: {mine[name]}." for name in mine if name not in {c.name for c in changes}]
    result = Graph(after, upgraded_from=graph.upgraded_from)
    return Outcome(result, summary, tuple(changes), notes=(*_some(others), *notes))


def _surviving(graph: Graph, batches: Batches, reasons: dict[str, str]) -> ModelProto:
    """The model in float16, with whatever becomes NaN or infinite put back to float32; `reasons` grows by that."""
    model = with_shapes(graph)
    after = halved(model, list(reasons))
    for _ in range(ROUNDS):
        wider = put_back(graph, model, after, batches, reasons)
        if not wider:
            break
        reasons |= dict.fromkeys(wider, NOT_FINITE)
        after = halved(model, list(reasons))
    return after


def _some(notes: list[str]) -> list[str]:
    more = len(notes) - MOST_NOTES
    return [*notes[:MOST_NOTES], f"{more} more nodes stay in float32."] if more > 0 else notes


def _batches(prepared: Prepared) -> Batches:
    """Calibration samples, or random ones where inputs can be made up and the model takes them; else none."""
    if prepared.calibration is not None:
        return prepared.calibration.inputs
    made = probes(prepared.graph, None)
    try:
        _ranges(prepared, lambda: made)
    except CalibrationFailed:  # a made-up input may well be none that the model was made for
        return list
    return lambda: made


def _ranges(prepared: Prepared, batches: Batches) -> Ranges:
    context = prepared.context
    return find_extremes(with_shapes(prepared.graph), batches, context.scratch, context.threads)


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
