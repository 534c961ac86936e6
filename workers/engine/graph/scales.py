"""The scales of a Q/DQ graph: which can be learned, and which follow from others.

A scale is learned by its logarithm, so that it stays positive and that a step changes it in proportion (Jain et al.
2020, trained quantization thresholds); the gradient is that of learned step sizes (Esser et al. 2020).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from workers.engine.graph.ops.node import Node
from workers.engine.graph.ops.values import Host, as_tensor

SMALLEST = 1e-9
Pair = tuple[str, str]
PAIRS = frozenset({"QuantizeLinear", "DequantizeLinear"})
BIAS = 2
"""Where layers take a bias."""


@dataclass(frozen=True)
class Scales:
    """`learned` are names of constants, `products` are scales of biases, each with those of the layer's input and of
    its weight: integer runtimes add a bias to the products of both, and so take its scale to be theirs.
    """

    learned: frozenset[str] = frozenset()
    products: dict[str, Pair] = field(default_factory=dict)
    stored: dict[str, Tensor] = field(default_factory=dict)

    def of_biases(self, learned: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The scales of biases as they follow from the learned ones."""
        values = {**self.stored, **learned}
        return {name: self._product(values, name) for name in self.products}

    def _product(self, values: Mapping[str, Tensor], name: str) -> Tensor:
        one, other = (values[each].to(next(iter(values.values())).device) for each in self.products[name])
        kept = self.stored[name]
        return (one.reshape(-1) * other.reshape(-1)).expand(kept.numel()).reshape(kept.shape)


def _is_bias(node: Node, constants: Mapping[str, Host]) -> bool:
    """Whether a node turns a stored bias to floats: 32 bits are for nothing else."""
    return node.inputs[0] in constants and constants[node.inputs[0]].dtype == np.int32


def _layers(nodes: Sequence[Node], behind: Mapping[str, str], biases: Mapping[str, str]) -> dict[str, set[Pair]]:
    """Per scale of a bias, the scales of input and weight of each layer that adds it; '' where one has none."""
    found: dict[str, set[Pair]] = {scale: set() for scale in biases.values()}
    for node in nodes:
        if len(node.inputs) > BIAS and node.inputs[BIAS] in biases:
            pair = behind.get(node.inputs[0], ""), behind.get(node.inputs[1], "")
            found[biases[node.inputs[BIAS]]].add(pair)
    return found


def find_scales(nodes: Sequence[Node], constants: Mapping[str, Host]) -> Scales:
    """Scales that are constants, of activations and of weights.

    Where a bias is not that of one layer with quantized input and weight, its scale stays, and so do that layer's.
    """
    quantizers = [node for node in nodes if node.op in PAIRS and node.inputs[1] in constants]
    biases = {node.outputs[0]: node.inputs[1] for node in quantizers if _is_bias(node, constants)}
    behind = {node.outputs[0]: node.inputs[1] for node in quantizers if node.op == "DequantizeLinear"}
    layers = _layers(nodes, behind, biases)
    whole = {
        bias: next(iter(pairs)) for bias, pairs in layers.items() if len(pairs) == 1 and "" not in next(iter(pairs))
    }
    kept = {name for bias, pairs in layers.items() if bias not in whole for pair in pairs for name in pair}
    learned = frozenset(node.inputs[1] for node in quantizers) - kept - layers.keys()
    products = {bias: pair for bias, pair in whole.items() if learned.intersection(pair)}
    read = {name for bias, pair in products.items() for name in (bias, *pair)}
    return Scales(learned, products, {name: as_tensor(constants[name]) for name in read})
