"""Learning after quantizing: what rounding took comes back; what cannot learn is refused with the reason."""

import numpy as np
import pytest

from tests.engine.models import accuracy
from whetstone.contract.failures import FailureCode
from whetstone.contract.learning import CosineRate, Finetune
from whetstone.contract.pruning import Prune
from whetstone.contract.quantization import Activations, Precision, Quantize
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph
from workers.engine.graph.trainable import NotTrainable
from workers.engine.passes.errors import NothingToDo
from workers.engine.passes.finetune import FinetunePass
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.prune import PrunePass
from workers.engine.passes.quantize import QuantizePass

POINT = 0.01


@pytest.fixture(scope="module")
def uneven(trained: Graph) -> Graph:
    """The trained network with hidden units made up to 256 times as large, and their outputs as much smaller: the same
    function, but with one scale for all units the small ones are rounded to zero, as in nets with depthwise layers
    (Nagel et al. 2019, figure 2).
    """
    factors = np.exp2(np.random.default_rng(0).permutation(np.linspace(0, 8, 128))).astype(np.float32)
    graph = trained.copy()
    for name in ("w1", "b1"):
        graph.set_weight(name, graph.weight(name) * factors)
    graph.set_weight("w2", graph.weight("w2") / factors[:, None])
    return graph


@pytest.mark.parametrize("learn_scales", [False, True])
def test_brings_back_what_quantizing_lost(
    uneven: Graph, digits: Samples, context: Context, *, learn_scales: bool
) -> None:
    quantized = QuantizePass(Quantize(per_channel=False)).apply(uneven, digits, context).graph
    assert accuracy(quantized, digits) < accuracy(uneven, digits) - POINT
    config = Finetune(epochs=20, learning_rate=1e-4, schedule=CosineRate(), learn_scales=learn_scales)
    outcome = FinetunePass(config).apply(quantized, digits, context)
    assert accuracy(outcome.graph, digits) > accuracy(quantized, digits) + POINT
    assert accuracy(outcome.graph, digits) > accuracy(uneven, digits) - POINT / 2
    assert outcome.graph.weight("w1_quantized").dtype == np.int8
    moved = outcome.graph.weight("w1_scale") != quantized.weight("w1_scale")
    assert moved.all() == learn_scales


def test_zeros_of_integers_are_held_only_when_asked(trained: Graph, digits: Samples, context: Context) -> None:
    pruned = PrunePass(Prune(sparsity=0.8)).apply(trained, digits, context).graph
    quantized = QuantizePass(Quantize()).apply(pruned, digits, context).graph
    was_zero = quantized.weight("w1_quantized") == 0
    assert was_zero.mean() > 0.8
    left, notes = [], []
    for hold in (None, True):
        config = Finetune(epochs=1, learning_rate=0.01, hold_sparsity=hold, learn_scales=True)
        outcome = FinetunePass(config).apply(quantized, digits, context)
        left.append(float((outcome.graph.weight("w1_quantized")[was_zero] == 0).mean()))
        notes.append(outcome.notes)
    assert left[0] < 0.9
    assert left[1] == 1
    assert "hold_sparsity true would have kept them" in notes[0][0]
    assert notes[1] == ()


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (Quantize(activations=Activations.DYNAMIC), "is a DynamicQuantizeLinear, which no gradient passes"),
        (Quantize(activations=Activations.NONE), "is a MatMulNBits, which no gradient passes"),
        (Quantize(precision=Precision.INT4), "is a MatMulNBits, which no gradient passes"),
        (Quantize(precision=Precision.FP16), "is float16, too coarse for steps of learning"),
        (Quantize(precision=Precision.BF16), "is bfloat16, too coarse for steps of learning"),
    ],
)
def test_what_cannot_learn_is_refused(
    trained: Graph, digits: Samples, context: Context, config: Quantize, told: str
) -> None:
    quantized = QuantizePass(config).apply(trained, digits, context).graph
    with pytest.raises(NotTrainable, match=told) as caught:
        FinetunePass(Finetune(epochs=1)).apply(quantized, digits, context)
    assert caught.value.code == FailureCode.UNSUPPORTED_OP
    assert caught.value.layer
    assert "before quantizing" in (caught.value.advice or "")


def test_scales_that_do_not_exist_cannot_be_learned(trained: Graph, digits: Samples, context: Context) -> None:
    with pytest.raises(NothingToDo, match="no scales of quantization"):
        FinetunePass(Finetune(learn_scales=True)).apply(trained, digits, context)
