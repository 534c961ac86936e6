"""Split large matrices and convolutions in thin ones (truncated SVD, Tucker-2), where that takes less work."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from whetstone.contract.factorization import Factorize
from whetstone.contract.reports import LayerChange
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import DEFAULT_DOMAINS, Graph, attribute, name_of
from workers.engine.graph.layers import Layer, count_params, layers_of
from workers.engine.graph.macs import count_macs, macs_by_node
from workers.engine.passes.checks import same_interface
from workers.engine.passes.errors import BrokenResult, NothingToDo
from workers.engine.passes.factorize_nodes import ints_of, split_node
from workers.engine.passes.factorize_split import CONV_RANK, Plan, conv_plans, matrix_plans
from workers.engine.passes.graph_pass import Context, GraphPass, Outcome
from workers.engine.passes.names import check_names, excluded_weights
from workers.engine.passes.prune_choice import OutOfReach
from workers.engine.passes.prune_goal import Shapes, shapes_of

OPS = ("Conv", "Gemm", "MatMul")
MATRIX = 2
BISECTIONS = 20
COSTS_MORE = "its parts would take more multiplications than it does"

Planner = Callable[[float, int], Plan]


@dataclass(frozen=True)
class _Candidate:
    """A weight that can be split, with the nodes that read it."""

    weight: str
    nodes: tuple[NodeProto, ...]
    plan: Planner


def _why_not(graph: Graph, node: NodeProto, weight: str) -> str | None:
    """Why a layer cannot be split at all; None if it can."""
    rank, is_conv = len(graph.constants[weight].dims), node.op_type == "Conv"
    automatic = any(a.name == "auto_pad" and a.s not in {b"NOTSET", b"VALID"} for a in node.attribute)
    reasons = (
        (node.domain not in DEFAULT_DOMAINS or node.op_type not in OPS, f"a {node.op_type} is not split"),
        (graph.dtype(weight) != "float32", f"its weight is {graph.dtype(weight)}"),
        (len(node.input) > 1 and node.input[1] != weight, "its weight is not read directly, or is its left factor"),
        (is_conv and attribute(node, "group", 1) > 1, "it is a grouped convolution"),
        (is_conv and automatic, "its padding is automatic"),
        (rank != (CONV_RANK if is_conv else MATRIX), "its weight is no matrix, and no kernel with two spatial axes"),
    )
    return next((reason for holds, reason in reasons if holds), None)


class FactorizePass(GraphPass[Factorize]):
    """Each split layer becomes two or three, named after it; the last makes the tensor that the layer made."""

    def _candidates(self, graph: Graph) -> tuple[dict[str, _Candidate], dict[str, str]]:
        """By weight what can be split, and by layer why the others stay."""
        excluded = excluded_weights(graph, self.config.exclude)
        nodes = {name_of(node): node for node in graph.nodes}
        users: dict[str, list[Layer]] = {}
        for layer in layers_of(graph):
            users.setdefault(layer.weight, []).append(layer)
        found: dict[str, _Candidate] = {}
        kept: dict[str, str] = {}
        for weight, layers in users.items():
            reasons = [_why_not(graph, nodes[layer.name], weight) for layer in layers]
            reason = next((reason for reason in reasons if reason is not None), None)
            if weight in excluded:
                reason = "it is excluded"
            elif reason is None and self._read_elsewhere(graph, weight, layers):
                reason = "its weight is used elsewhere too"
            if reason is not None:
                kept |= dict.fromkeys((layer.name for layer in layers), reason)
            else:
                own = tuple(nodes[layer.name] for layer in layers)
                found[weight] = _Candidate(weight, own, self._planner(graph, weight, own))
        return found, kept

    @staticmethod
    def _read_elsewhere(graph: Graph, weight: str, layers: list[Layer]) -> bool:
        readers = graph.consumers(weight)
        ways = {(node.op_type, attribute(node, "transB", 0), *ints_of(node, "strides", 2, 1)) for node in readers}
        return len(readers) != len(layers) or len(ways) > 1

    def _planner(self, graph: Graph, weight: str, nodes: tuple[NodeProto, ...]) -> Planner:
        values = np.asarray(graph.weight(weight))
        if nodes[0].op_type != "Conv":
            return matrix_plans(values, transposed=bool(attribute(nodes[0], "transB", 0)))
        height, width = ints_of(nodes[0], "strides", 2, 1)
        return conv_plans(values, self.config.spatial, (height, width))

    def requires(self, graph: Graph, data: Samples | None) -> None:
        check_names(graph, self.config.exclude)
        nodes = {name_of(node): node for node in graph.nodes}
        excluded = excluded_weights(graph, self.config.exclude)
        able = [
            layer
            for layer in layers_of(graph)
            if layer.weight not in excluded and _why_not(graph, nodes[layer.name], layer.weight) is None
        ]
        if not able:
            raise NothingToDo("There is no Conv, Gemm or MatMul with a constant float32 weight to split.")
        if self.config.macs_share is not None and not count_macs(graph, shapes_of(data) or None):
            raise OutOfReach("The model's multiply-accumulates cannot be counted.", hint="Give an energy instead.")

    def run(self, graph: Graph, data: Samples | None, context: Context) -> Outcome:
        after = graph.copy()
        found, kept = self._candidates(after)
        energy = self.config.energy or self._energy(graph, list(found.values()), shapes_of(data))
        done: dict[str, str] = {}
        for number, candidate in enumerate(found.values()):
            plan = candidate.plan(energy, self.config.round_to)
            if plan.cost < 1:
                done |= _apply(after, candidate, plan)
            else:
                kept |= {name_of(node): COSTS_MORE for node in candidate.nodes}
            context.tell((number + 1) / len(found), f"split '{candidate.weight}'", {})
        if not done:
            raise NothingToDo(f"No layer gets cheaper at an energy of {energy:.1%}.", hint="Lower energy.")
        left = _left(graph, after, shapes_of(data))
        told = f"Split {len(done)} layers at {energy:.1%} of their energy: {left} are left."
        return Outcome(after, told, _changes(graph, done, kept))

    def _energy(self, graph: Graph, found: list[_Candidate], shapes: Shapes) -> float:
        """The largest energy at which no more than the share asked for is left, by bisection. Raises OutOfReach."""
        macs = macs_by_node(graph, shapes or None)
        total = sum(count or 0 for count in macs.values())
        own = [sum(macs.get(name_of(node)) or 0 for node in candidate.nodes) for candidate in found]

        def share(energy: float) -> float:
            costs = [candidate.plan(energy, self.config.round_to).cost for candidate in found]
            return 1 - sum(count * (1 - min(cost, 1)) for count, cost in zip(own, costs, strict=True)) / total

        low, high, wanted = 0.0, 1.0, self.config.macs_share or 0.0
        if share(low) > wanted:
            least = f"At rank 1 {share(low):.1%} of the multiply-accumulates are left; asked is {wanted:.1%}."
            raise OutOfReach(least, hint="Ask for a larger macs_share, or exclude less.")
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if share(middle) <= wanted else (low, middle)
        return low

    def ensures(self, before: Graph, after: Graph) -> None:
        same_interface(before, after)
        old, new = count_macs(before), count_macs(after)
        if old is not None and new is not None and new >= old:
            raise BrokenResult("The graph takes no fewer multiply-accumulates than before.")


def _apply(graph: Graph, candidate: _Candidate, plan: Plan) -> dict[str, str]:
    """Split all layers of a weight. Returns what was done to each."""
    parts = plan.parts()
    kind = "Tucker-2" if len(parts) > MATRIX else "SVD"
    told = f"{kind} of rank {' × '.join(map(str, plan.ranks))}"
    names = [name_of(node) for node in candidate.nodes]
    split_node(graph, candidate.weight, [node.output[0] for node in candidate.nodes], parts)
    return dict.fromkeys(names, told)


def _left(before: Graph, after: Graph, shapes: Shapes) -> str:
    macs = [count_macs(graph, shapes or None) for graph in (before, after)]
    told = f"{count_params(after) / count_params(before):.1%} of the parameters"
    return f"{told} and {macs[1] / macs[0]:.1%} of the multiply-accumulates" if macs[0] and macs[1] else told


def _changes(graph: Graph, done: dict[str, str], kept: dict[str, str]) -> tuple[LayerChange, ...]:
    return tuple(
        LayerChange(
            name=layer.name,
            op=layer.op,
            change="split" if layer.name in done else "left alone",
            before=" × ".join(map(str, layer.shape)),
            after=done.get(layer.name),
            kept_because=kept.get(layer.name),
        )
        for layer in layers_of(graph)
    )
