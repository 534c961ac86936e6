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
from workers.engine.graph.macs import count_macs
from workers.engine.passes.checks import same_interface
from workers.engine.passes.errors import BrokenResult, NothingToDo
from workers.engine.passes.factorizing.nodes import ints_of, split_node
from workers.engine.passes.factorizing.split import CONV_RANK, Plan, conv_plans, matrix_plans
from workers.engine.passes.goal import Shapes, check_goal, least, shapes_of, share_left
from workers.engine.passes.graph_pass import Context, GraphPass, Outcome
from workers.engine.passes.names import check_names, excluded_weights

OPS = ("Conv", "Gemm", "MatMul")
MATRIX = 2
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
        check_goal(self.config.goal, graph, data)

    def run(self, graph: Graph, data: Samples | None, context: Context) -> Outcome:
        found, kept = self._candidates(graph)
        energy = self.config.energy or self._energy(graph, found, data, context)
        plans = self._plans(found, energy)
        if not plans:
            raise NothingToDo(f"No layer gets cheaper at an energy of {energy:.1%}.", hint="Lower energy.")
        kept |= {name_of(node): COSTS_MORE for one in found.values() if one.weight not in plans for node in one.nodes}
        after, done = _split(graph, found, plans)
        left = _left(graph, after, shapes_of(data))
        told = f"Split {len(done)} layers at {energy:.1%} of their energy: {left} are left."
        return Outcome(after, told, _changes(graph, done, kept))

    def _plans(self, found: dict[str, _Candidate], energy: float) -> dict[str, Plan]:
        """By weight how it is split, where that is cheaper."""
        plans = {weight: candidate.plan(energy, self.config.round_to) for weight, candidate in found.items()}
        return {weight: plan for weight, plan in plans.items() if plan.cost < 1}

    def _energy(self, graph: Graph, found: dict[str, _Candidate], data: Samples | None, context: Context) -> float:
        """The largest energy that reaches the goal. Raises OutOfReach."""
        if self.config.goal is None:
            raise AssertionError(self.config)  # the contract has one of both
        left = share_left(self.config.goal.of, graph, data, context.scratch)
        tried: dict[tuple[tuple[str, tuple[int, ...]], ...], dict[str, Plan]] = {}

        def pick(lost: float) -> tuple[tuple[str, tuple[int, ...]], ...]:
            plans = self._plans(found, 1 - lost)
            ranks = tuple((weight, plan.ranks) for weight, plan in plans.items())
            tried[ranks] = plans
            context.tell(0.5, f"trying {1 - lost:.1%} of the energy", {})
            return ranks

        return 1 - least(pick, lambda ranks: left(_split(graph, found, tried[ranks])[0]), self.config.goal.share)

    def ensures(self, before: Graph, after: Graph) -> None:
        same_interface(before, after)
        old, new = count_macs(before), count_macs(after)
        if old is not None and new is not None and new >= old:
            raise BrokenResult("The graph takes no fewer multiply-accumulates than before.")


def _split(graph: Graph, found: dict[str, _Candidate], plans: dict[str, Plan]) -> tuple[Graph, dict[str, str]]:
    """A copy with all layers of these weights split, and what was done to each layer."""
    after, done = graph.copy(), dict[str, str]()
    for weight, plan in plans.items():
        parts, nodes = plan.parts(), found[weight].nodes
        split_node(after, weight, [node.output[0] for node in nodes], parts)
        kind = "Tucker-2" if len(parts) > MATRIX else "SVD"
        told = f"{kind} of rank {' × '.join(map(str, plan.ranks))}"
        done |= dict.fromkeys((name_of(node) for node in nodes), told)
    return after, done


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
