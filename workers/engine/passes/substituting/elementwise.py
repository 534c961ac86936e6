"""Parts of a graph that do the same to each element, whatever its place."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from whetstone.calibration.session import Session
from workers.engine.graph.graph import DEFAULT_DOMAINS, Array
from workers.engine.passes.substituting.view import View

SIGMOIDS = ("HardSigmoid", "Sigmoid", "Softsign", "Tanh")
RECTIFIERS = ("Elu", "Gelu", "HardSwish", "LeakyRelu", "Mish", "Relu", "Selu", "Softplus")
ARITHMETIC = ("Abs", "Add", "Clip", "Div", "Erf", "Exp", "Log", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal")
ELEMENTWISE = frozenset((*SIGMOIDS, *RECTIFIERS, *ARITHMETIC, "Sqrt", "Sub"))
MOST_NODES = 32

Admits = Callable[[Array], bool]


def parts(view: View, start: str, admits: Admits) -> Iterator[tuple[str, tuple[NodeProto, ...]]]:
    """Tensors that follow from `start` element by element and from constants that are admitted, each with the nodes
    between, of which nothing else is read outside; the farthest first.
    """
    nodes = _following(view, start, admits)
    for count in range(len(nodes), 0, -1):
        within = nodes[:count]
        made = [node.output[0] for node in within]
        leaving = [name for name in made if not view.read_only_by(name, within)]
        if leaving == [made[-1]]:
            yield made[-1], tuple(within)


def _following(view: View, start: str, admits: Admits) -> list[NodeProto]:
    """Nodes that read nothing else, in the order they run."""
    reached, found = {start}, list[NodeProto]()
    rank = len(view.shapes.get(start, (1,)))

    def belongs(node: NodeProto) -> bool:
        if node.domain not in DEFAULT_DOMAINS or node.op_type not in ELEMENTWISE:
            return False
        if not reached.intersection(node.input):
            return False
        others = [view.floats(name) for name in node.input if name and name not in reached]
        return all(each is not None and each.ndim <= rank and admits(each) for each in others)

    waiting = {view.place(node): node for node in view.graph.consumers(start)}
    while waiting and len(found) < MOST_NODES:
        node = waiting.pop(min(waiting))
        if belongs(node):
            found.append(node)
            reached.update(node.output)
            waiting |= {view.place(reader): reader for name in node.output for reader in view.graph.consumers(name)}
    return found


def computed(view: View, start: str, nodes: Sequence[NodeProto], values: Array) -> Array:
    """What these nodes make of `values` in the place of `start`, in the same shape. Raises what onnxruntime raises."""
    model = ModelProto(ir_version=view.graph.model.ir_version, opset_import=view.graph.model.opset_import)
    model.graph.name = "part"
    model.graph.node.extend(nodes)
    needed = {name for node in nodes for name in node.input if name in view.graph.constants}
    model.graph.initializer.extend(numpy_helper.from_array(view.graph.weight(name), name) for name in sorted(needed))
    model.graph.input.append(helper.make_tensor_value_info(start, TensorProto.FLOAT, values.shape))
    model.graph.output.append(helper.make_empty_tensor_value_info(nodes[-1].output[0]))
    return Session(model.SerializeToString()).run({start: values})[nodes[-1].output[0]].reshape(values.shape)


def is_number(values: Array) -> bool:
    return values.size == 1


def is_row(values: Array) -> bool:
    """Whether it differs along the last axis alone."""
    return values.size == 1 or (values.ndim > 0 and values.shape[-1] == values.size)


def same(one: Array, other: Array, tolerance: float) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=tolerance, atol=tolerance))
