"""What passes that learn have in common: the module, its objective, masks, and telling of progress."""

from collections.abc import Callable

import torch
from torch import Tensor

from whetstone.contract.datasets import Split
from whetstone.contract.losses import LabelLoss
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph, name_of
from workers.engine.graph.layers import layers_of
from workers.engine.graph.trainable import NotTrainable, Trainable
from workers.engine.passes.errors import NeedsDataset, NothingToDo
from workers.engine.passes.graph_pass import Context
from workers.engine.training.gradients import device_of
from workers.engine.training.labels import fitting_loss
from workers.engine.training.loop import Epoch, Hooks
from workers.engine.training.objective import Objective, objective_of

COMPUTED_IN_INTEGERS = frozenset({
    "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QGemm",
    "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulNBits",
})  # fmt: skip
"""What quantizing leaves of a layer unless it is static, in Q/DQ pairs."""
TRAIN_FIRST = "Learn before quantizing; only static int8 (QuantizeLinear/DequantizeLinear pairs) learns afterwards."


def labelled(data: Samples | None) -> Samples:
    """Raises NeedsDataset unless there is a train split with labels."""
    if data is None or not data.has_labels(Split.TRAIN):
        raise NeedsDataset(
            "Learning needs a dataset with a train split and labels.",
            hint="Add 'labels' to the .npz, or leave out finetune and scheduled pruning.",
        )
    return data


def _check_numbers(graph: Graph) -> None:
    """Raises NotTrainable where weights are of a kind whose small changes are lost, or never seen by a gradient."""
    for node in graph.nodes:
        if node.op_type in COMPUTED_IN_INTEGERS:
            told = f"Node '{name_of(node)}' is a {node.op_type}, which no gradient passes."
            raise NotTrainable(told, layer=name_of(node), hint=TRAIN_FIRST)
    for layer in layers_of(graph):
        if graph.dtype(layer.weight) in ("float16", "bfloat16"):
            told = f"The weight of '{layer.name}' is {graph.dtype(layer.weight)}, too coarse for steps of learning."
            raise NotTrainable(told, layer=layer.name, hint=TRAIN_FIRST)


def module_for(graph: Graph, objective: Objective, *, learn_scales: bool = False) -> Trainable:
    """The graph up to what the objective wants, on its device. Raises NotTrainable or NothingToDo before any work."""
    _check_numbers(graph)
    module = Trainable(graph, objective.tensors, learn_scales=learn_scales)
    if not module.weights:
        raise NothingToDo("The model has no float32 weights to learn.")
    if learn_scales and not module.scales:
        raise NothingToDo("The model has no scales of quantization to learn.", hint="Set learn_scales to false.")
    return module.to(device_of())


def trainable(
    graph: Graph, loss: LabelLoss | None, samples: Samples | None = None, *, learn_scales: bool = False
) -> tuple[Trainable, Objective]:
    """A module that learns from labels. Without a loss the labels of `samples` tell, and without both it is
    cross-entropy. Raises NotTrainable or NothingToDo before any work.
    """
    found = fitting_loss(graph, samples) if loss is None and samples is not None else None
    objective = objective_of(graph, loss or found or LabelLoss.CROSS_ENTROPY)
    return module_for(graph, objective, learn_scales=learn_scales), objective


class Masks:
    """Which weights may not be other than zero, by name; made from those that are zero now."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self._weights = weights
        self.renew()

    @torch.no_grad()
    def renew(self) -> None:
        self._kept = {name: weight != 0 for name, weight in self._weights.items()}

    def remember(self) -> dict[str, Tensor]:
        return dict(self._kept)

    def recall(self, steps: int, kept: dict[str, Tensor]) -> None:
        """Go on with the masks that there were after so many steps."""
        del steps
        self._kept = {name: kept[name].to(weight.device) for name, weight in self._weights.items()}

    @torch.no_grad()
    def hold(self) -> None:
        """Set to zero what the last optimizer step has moved away from it."""
        for name, weight in self._weights.items():
            weight.mul_(self._kept[name])


def _sentence(number: int, epoch: Epoch) -> str:
    accuracy = "" if epoch.validation_accuracy is None else f", validation accuracy {epoch.validation_accuracy:.2%}"
    return f"Epoch {number}: loss {epoch.loss:.4g}, validation loss {epoch.validation_loss:.4g}{accuracy}"


def telling(
    context: Context,
    after_step: Callable[[int], None],
    remember: Callable[[], dict[str, Tensor]] = dict,
    recall: Callable[[int, dict[str, Tensor]], None] = lambda _steps, _kept: None,
) -> Hooks:
    """Hooks that do something after each step and tell of every epoch."""

    def after_epoch(share: float, number: int, epoch: Epoch) -> None:
        metrics = {"loss": epoch.loss, "validation_loss": epoch.validation_loss}
        if epoch.validation_accuracy is not None:
            metrics["validation_accuracy"] = epoch.validation_accuracy
        context.tell(share, _sentence(number, epoch), metrics)

    return Hooks(after_step, after_epoch, remember, recall)
