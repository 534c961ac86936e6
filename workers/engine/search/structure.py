"""Graphs with less in them: channels, heads and hidden units cut out, wide layers split in thin ones."""

from collections import Counter
from collections.abc import Iterator

from whetstone.contract.factorization import Factorize
from whetstone.contract.pruning import Goal, Granularity, Measure, Prune
from workers.engine.graph.graph import Graph

SHARES = (0.75, 0.5, 0.35)
"""What is left of the multiply-accumulates when channels go."""

BLOCK = 16
"""Channels stay in multiples of this: kernels work on so many at once, and may take as long for 17 as for 32."""

HEADS = (0.25, 0.5)
ENERGIES = (0.99, 0.95, 0.9)
LEAST_PRODUCTS = 4
"""A softmax between fewer matrix products than an attention layer has is the end of a classifier."""


def smaller_graphs(graph: Graph) -> Iterator[Prune | Factorize]:
    """Gentle ones first: where these lose too much already, those after them only lose more."""
    for share in SHARES:
        yield Prune(
            granularity=Granularity.CHANNEL, sparsity=None, goal=Goal(of=Measure.MACS, share=share), round_to=BLOCK
        )
    if _has_attention(graph):
        yield from (Prune(granularity=Granularity.HEAD, sparsity=share) for share in HEADS)
    yield from (Factorize(energy=energy) for energy in ENERGIES)


def _has_attention(graph: Graph) -> bool:
    ops = Counter(node.op_type for node in graph.nodes)
    return bool(ops["Softmax"]) and ops["MatMul"] + ops["Gemm"] >= LEAST_PRODUCTS
