"""What a graph is trained towards: which of its tensors is compared with the labels, and how."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from whetstone.contract.failures import FailureCode
from whetstone.contract.learning import LabelLoss
from workers.engine.data.errors import DatasetMismatch
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph

SEEN_THROUGH = frozenset({"Identity", "QuantizeLinear", "DequantizeLinear"})
FLOATS = ("float32", "float16", "float64", "bfloat16")


class NoOutputToTrain(EngineError):
    """None of the model's outputs is a floating point number, so there is nothing to compare with labels."""

    code = FailureCode.NOTHING_TO_DO


def decisive_output(graph: Graph) -> str:
    """The output that labels speak of: the first of floating point. Raises NoOutputToTrain."""
    name = next((facts.name for facts in graph.outputs if facts.dtype in FLOATS), None)
    if name is None:
        raise NoOutputToTrain
    return name


def _before_softmax(graph: Graph, output: str) -> str:
    """The logits, where the output is their softmax; the output itself otherwise.

    Cross-entropy takes logits. Log-probabilities serve as well: their log-sum-exp is 0.
    """
    name = output
    while (node := graph.producer(name)) is not None and node.op_type in SEEN_THROUGH:
        name = node.input[0]
    return node.input[0] if node is not None and node.op_type == "Softmax" else output


@dataclass(frozen=True)
class Objective:
    """`output` is the tensor of the graph that `loss` and `correct` want."""

    output: str
    loss_kind: LabelLoss

    def loss(self, made: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch. Raises DatasetMismatch when labels do not go with the output."""
        match self.loss_kind:
            case LabelLoss.CROSS_ENTROPY:
                return F.cross_entropy(_classes_second(made, labels), labels)
            case LabelLoss.MSE:
                return F.mse_loss(made, _shaped_like(labels, made))

    def correct(self, made: Tensor, labels: Tensor) -> Tensor | None:
        """Which labels are hit by the largest output; None where the loss is no classification."""
        if self.loss_kind is LabelLoss.MSE:
            return None
        return _classes_second(made, labels).argmax(1) == labels


def _classes_second(made: Tensor, labels: Tensor) -> Tensor:
    """Outputs as [N, classes, …], the layout of torch's cross-entropy, from [N, classes, …] or [N, …, classes]."""
    if made.shape[:-1] == labels.shape:
        made = made.movedim(-1, 1)
    elif made.shape[:1] + made.shape[2:] != labels.shape:
        raise DatasetMismatch(f"Labels of shape {list(labels.shape)} do not go with outputs of {list(made.shape)}.")
    if labels.is_floating_point():
        raise DatasetMismatch("Cross-entropy wants class ids; the labels are floating point.", hint="Use loss 'mse'.")
    classes, largest = made.shape[1], int(labels.max())
    if classes < 2 or largest >= classes:  # noqa: PLR2004 - a choice takes two
        raise DatasetMismatch(f"The labels go up to {largest}, but the model tells {classes} classes apart.")
    return made


def _shaped_like(labels: Tensor, made: Tensor) -> Tensor:
    if labels.numel() != made.numel():
        raise DatasetMismatch(f"Targets of shape {list(labels.shape)} do not go with outputs of {list(made.shape)}.")
    return labels.reshape(made.shape).to(made.dtype)


def objective_of(graph: Graph, loss_kind: LabelLoss) -> Objective:
    """Train the decisive output; for cross-entropy its logits, if it is a softmax."""
    output = decisive_output(graph)
    return Objective(_before_softmax(graph, output) if loss_kind is LabelLoss.CROSS_ENTROPY else output, loss_kind)


def as_labels(values: Tensor) -> Tensor:
    """Class ids as int64, targets as float32."""
    return values.float() if values.is_floating_point() else values.to(torch.int64)
