"""How the outputs of a model are read when results are judged: the graph and the order tell."""

from dataclasses import dataclass

from whetstone.contract.metrics import Metric
from workers.engine.graph.graph import Graph
from workers.engine.measure.decision import PASS_ON, thresholds_of

ENDS = {"LpNormalization", "LayerNormalization", "Tanh"}
"""Of vectors of length one, of states of an encoder, and of its pooled first state. Scores of classes end in none."""

NORMS = {"ReduceL2"}
ON_THE_WAY = PASS_ON | {"Clip", "Max", "Expand", "Add"}
"""Between a norm and the division by it: what keeps it from zero and brings it to shape."""

FLOATS = {"float16", "float32", "float64", "bfloat16"}


@dataclass(frozen=True)
class Reading:
    """For `thresholds` see `thresholds_of`. `metric` is what the order says, None for what labels and outputs suggest;
    `embeds` where the largest entry of an output is no decision.
    """

    thresholds: dict[str, float]
    metric: Metric | None = None
    embeds: bool = False

    @property
    def by_labels(self) -> bool:
        """Whether labels count, where there are some."""
        return self.metric is None or self.metric.needs_labels

    @property
    def without_labels(self) -> Metric | None:
        """How outputs are compared with those of the original."""
        return self.metric or (Metric.COSINE if self.embeds else None)


def reading_of(graph: Graph, metric: Metric | None = None) -> Reading:
    floats = [output.name for output in graph.outputs if output.dtype in FLOATS]
    embeds = bool(floats) and all(_is_embedding(graph, name) for name in floats)
    return Reading(thresholds_of(graph), metric, embeds)


def _is_embedding(graph: Graph, tensor: str) -> bool:
    node = graph.producer(tensor)
    while node is not None and node.op_type in PASS_ON:
        node = graph.producer(node.input[0])
    if node is None:
        return False
    return node.op_type in ENDS or (node.op_type == "Div" and _is_norm(graph, node.input[1]))


def _is_norm(graph: Graph, tensor: str) -> bool:
    node = graph.producer(tensor)
    while node is not None and node.op_type in ON_THE_WAY:
        node = graph.producer(node.input[0])
    return node is not None and node.op_type in NORMS
