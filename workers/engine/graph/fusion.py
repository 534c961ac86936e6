"""Finding nodes that torch has one function for. Exporters write out what PyTorch calls as one, and it is slow so.

What is fused computes the same but for rounding. Only what nobody else reads is fused.
"""

import math
from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from workers.engine.graph.ops import fused
from workers.engine.graph.ops.node import Node, Op
from workers.engine.graph.ops.program import bodies_of, captured
from workers.engine.graph.ops.values import Host

MATRIX = 2
CLOSE = 1e-6
SOFTMAX_OF_ONE_AXIS = 13
"""Before this opset a Softmax is one over all axes from its own on."""


@dataclass(frozen=True)
class Fused:
    """A node that takes the place of others: its op, and the outputs that are no longer made."""

    node: Node
    op: Op
    inner: frozenset[str]


class Net:
    """The nodes of a graph by what they make, and how often each tensor is read."""

    def __init__(
        self, nodes: Sequence[Node], constants: Mapping[str, Host], outputs: Iterable[str], learned: Container[str]
    ) -> None:
        self.constants, self._learned = constants, learned
        self._makers = {name: node for node in nodes for name in node.outputs if name}
        self._readers: dict[str, list[Node]] = {}
        self._reads = Counter(outputs)
        for node in nodes:
            around = (name for body in bodies_of(node).values() for name in captured(body))
            self._reads.update((*node.inputs, *around))
            for name in node.inputs:
                self._readers.setdefault(name, []).append(node)

    def maker(self, name: str, *ops: str) -> Node | None:
        node = self._makers.get(name)
        return node if node is not None and node.op in ops and name == node.outputs[0] else None

    def inside(self, name: str, *ops: str) -> Node | None:
        """The node that makes a tensor which is read once: it may go."""
        return self.maker(name, *ops) if self._reads[name] == 1 else None

    def reads(self, name: str) -> int:
        return self._reads[name]

    def along_last(self, node: Node) -> bool:
        """Whether a reduction is over the last axis alone, which stays with length 1."""
        axes = node.get("axes", None)
        if axes is None and len(node.inputs) > 1 and node.inputs[1] in self.constants:
            axes = self.constants[node.inputs[1]].reshape(-1).tolist()
        return axes == [-1] and bool(node.get("keepdims", 1))

    def reader(self, name: str, *ops: str) -> Node | None:
        """The only reader of a tensor."""
        found = self._readers.get(name, [])
        return found[0] if self._reads[name] == 1 and found and found[0].op in ops else None

    def number(self, name: str) -> float | None:
        """The value of a constant of one element that is not learned."""
        value = None if name in self._learned else self.constants.get(name)
        is_one = value is not None and value.size == 1 and value.dtype.kind == "f"
        return float(value.reshape(-1)[0]) if value is not None and is_one else None

    def by_number(self, node: Node) -> tuple[str, float] | None:
        """What a Mul or Div takes, and what it multiplies that by, if that is a constant number."""
        first, second = node.inputs
        if (number := self.number(second)) is not None and number:
            return first, 1 / number if node.op == "Div" else number
        number = self.number(first)
        return (second, number) if number is not None and node.op == "Mul" else None


def _other(node: Node, name: str) -> str:
    """The other input of a node of two."""
    return node.inputs[1] if node.inputs[0] == name else node.inputs[0]


def _linear(net: Net, node: Node) -> Fused | None:
    """MatMul with a constant matrix, and Add of a constant vector of its width."""
    for product, bias in (node.inputs, node.inputs[::-1]) if node.op == "Add" else ():
        matmul, vector = net.inside(product, "MatMul"), net.constants.get(bias)
        if matmul is None or vector is None or vector.ndim != 1:
            continue
        x, weight = matmul.inputs
        turn = net.maker(weight, "Transpose")
        matrix = net.constants.get(turn.inputs[0] if turn else weight)
        if matrix is None or matrix.dtype.kind != "f":
            continue
        if matrix.ndim == MATRIX and matrix.shape[0 if turn else 1] == len(vector):
            inner = {product, weight} if turn and net.inside(weight, "Transpose") else {product}
            made = replace(matmul, inputs=(x, turn.inputs[0] if turn else weight, bias), outputs=node.outputs)
            return Fused(made, fused.linear(turned=turn is not None), frozenset(inner))
    return None


def _attention(net: Net, node: Node) -> Fused | None:
    """MatMul, a scale and a mask or neither, Softmax, MatMul."""
    softmax = net.inside(node.inputs[0], "Softmax") if node.op == "MatMul" else None
    if softmax is None:
        return None
    name, inner, mask, scale = softmax.inputs[0], {softmax.outputs[0]}, "", 1.0
    if (add := net.inside(name, "Add")) is not None:
        own = next((each for each in add.inputs if net.inside(each, "MatMul", "Mul", "Div")), None)
        if own is None:
            return None
        inner.add(name)
        name, mask = own, _other(add, own)
    if (scaling := net.inside(name, "Mul", "Div")) is not None and (found := net.by_number(scaling)) is not None:
        inner.add(name)
        name, scale = found
    product = net.inside(name, "MatMul")
    if product is None or softmax.opset < SOFTMAX_OF_ONE_AXIS:
        return None
    made = replace(node, inputs=(*product.inputs, node.inputs[1], *([mask] if mask else [])))
    return Fused(made, fused.attention(scale, softmax.get("axis", -1)), frozenset({*inner, name}))


def _factors(net: Net, name: str) -> tuple[str | None, float, set[str]]:
    """A tensor as another times a number, or as a number alone; and what need not be made then."""
    if (number := net.number(name)) is not None:
        return None, number, set()
    node = net.inside(name, "Mul", "Div")
    found = net.by_number(node) if node is not None else None
    return (*found, {name}) if found is not None else (name, 1.0, set())


def _gelu(net: Net, node: Node) -> Fused | None:
    """GELU, x · (1 + erf(x / √2)) / 2, in whichever order (Hendrycks & Gimpel 2016). `node` is the Erf."""
    x, scale, inner = _factors(net, node.inputs[0]) if node.op == "Erf" else (None, 0.0, set[str]())
    plus = net.reader(node.outputs[0], "Add")
    if x is None or plus is None or not math.isclose(scale, math.sqrt(0.5), rel_tol=CLOSE):
        return None
    if net.number(_other(plus, node.outputs[0])) != 1:
        return None
    return _times_half(net, plus.outputs[0], x, inner | {node.outputs[0]})


def _times_half(net: Net, name: str, x: str, inner: set[str]) -> Fused | None:
    """Follow a tensor through products to where it has been multiplied by `x` and by a half, and by nothing else."""
    tensors, number = list[str | None](), 1.0
    while (product := net.reader(name, "Mul")) is not None:
        tensor, factor, more = _factors(net, _other(product, name))
        inner = inner | more | {name}
        tensors = [*tensors, tensor] if tensor is not None else tensors
        number, name = number * factor, product.outputs[0]
        if tensors == [x] and math.isclose(number, 0.5):
            return Fused(replace(product, inputs=(x,)), fused.GELU, frozenset(inner))
        if tensors not in ([], [x]):
            return None
    return None


def _norm(net: Net, node: Node) -> Fused | None:
    """LayerNormalization over the last axis as it was written out before opset 17. `node` is the last Add."""
    for scaled, bias in (node.inputs, node.inputs[::-1]) if node.op == "Add" else ():
        mul, vector = net.inside(scaled, "Mul"), net.constants.get(bias)
        if mul is None or vector is None or vector.ndim != 1 or vector.size == 1:
            continue
        for normal, scale in (mul.inputs, mul.inputs[::-1]):
            found = _normalized(net, normal)
            if found is not None and scale in net.constants and net.constants[scale].shape == vector.shape:
                x, epsilon, inner = found
                made = replace(node, inputs=(x, scale, bias))
                return Fused(made, fused.layer_norm(epsilon), frozenset({scaled, *inner}))
    return None


def _normalized(net: Net, name: str) -> tuple[str, float, set[str]] | None:
    """From (x - mean) / sqrt(variance + ε) back to x and ε."""
    div = net.inside(name, "Div")
    root = net.inside(div.inputs[1], "Sqrt") if div is not None else None
    add = net.inside(root.inputs[0], "Add") if root is not None else None
    if div is None or root is None or add is None:
        return None
    power, epsilon = next(((n, net.number(_other(add, n))) for n in add.inputs if net.number(n) is None), ("", None))
    mean = net.inside(power, "ReduceMean")
    square = net.inside(mean.inputs[0], "Pow", "Mul") if mean is not None else None
    centred = net.maker(div.inputs[0], "Sub")
    if mean is None or square is None or centred is None or epsilon is None or not net.along_last(mean):
        return None
    squared = square.inputs[0] == square.inputs[1] if square.op == "Mul" else net.number(square.inputs[1]) == 2  # noqa: PLR2004
    middle = net.inside(centred.inputs[1], "ReduceMean")
    reads = 1 + (2 if square.op == "Mul" else 1)
    alike = square.inputs[0] == centred.outputs[0] and net.reads(centred.outputs[0]) == reads
    if (
        not squared
        or not alike
        or middle is None
        or middle.inputs[0] != centred.inputs[0]
        or not net.along_last(middle)
    ):
        return None
    parts = (div, root, add, mean, square, centred, middle)
    return centred.inputs[0], epsilon, {part.outputs[0] for part in parts}


PATTERNS = (_attention, _gelu, _norm, _linear)


def fuse(
    nodes: Sequence[Node], constants: Mapping[str, Host], outputs: Collection[str], learned: Container[str] = ()
) -> tuple[tuple[Node, ...], dict[str, Op]]:
    """Fewer nodes, in the order they run, and how those are run that stand for several, by what they make.

    `outputs` stay as they are, though others may no longer be made. `learned` constants have no value to go by.
    """
    net = Net(nodes, constants, outputs, learned)
    found: dict[str, Fused] = {}
    gone: set[str] = set()
    for pattern in PATTERNS:
        for node in nodes:
            match = pattern(net, node)
            if match is not None and not gone & {*match.inner, *match.node.outputs}:
                found[match.node.outputs[0]] = match
                gone |= {*match.inner, *match.node.outputs}
    inner = {name for match in found.values() for name in match.inner}
    kept = (node for node in nodes if not node.outputs or node.outputs[0] not in inner)
    made = tuple(found[node.outputs[0]].node if node.outputs and node.outputs[0] in found else node for node in kept)
    return made, {name: match.op for name, match in found.items()}
