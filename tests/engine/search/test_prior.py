"""What earlier searches found changes the order of what is tried, and nothing else."""

from whetstone.contract.jobs import Objective
from whetstone.contract.learning import Finetune
from whetstone.contract.passes import Simplify
from whetstone.contract.quantization import Activations, Quantize
from whetstone.contract.targets import Target
from whetstone.contract.trials import Remembered
from workers.engine.search.board import Recipe
from workers.engine.search.prior import Prior, key_of

PLAIN: Recipe = (Simplify(), Quantize())
DYNAMIC: Recipe = (Simplify(), Quantize(activations=Activations.DYNAMIC))
FIRST: Recipe = (Simplify(), Quantize(exclude=("conv1",)))
ALL = [PLAIN, DYNAMIC, FIRST]


def seen(recipe: Recipe, *, lost: float = 0, speedup: float = 1, size_ratio: float = 1, like: float = 1) -> Remembered:
    target = Target.ONNXRUNTIME_CPU
    return Remembered(recipe=recipe, target=target, likeness=like, lost=lost, speedup=speedup, size_ratio=size_ratio)


def test_without_a_history_nothing_changes() -> None:
    assert Prior((), Objective.LATENCY, 0.5)(ALL) == ALL


def test_what_did_well_comes_first_and_what_lost_too_much_last() -> None:
    history = (seen(PLAIN, lost=3, speedup=3), seen(FIRST, speedup=2, size_ratio=0.9))
    assert Prior(history, Objective.LATENCY, 0.5)(ALL) == [FIRST, DYNAMIC, PLAIN]
    assert Prior(history, Objective.LATENCY, 5)(ALL) == [PLAIN, FIRST, DYNAMIC]
    assert Prior(history, Objective.SIZE, 0.5)(ALL) == [DYNAMIC, FIRST, PLAIN]


def test_more_alike_models_count_more() -> None:
    slow, quick = seen(DYNAMIC, speedup=0.2, like=0.9), seen(DYNAMIC, speedup=3, like=0.5)
    assert Prior((slow, quick), Objective.LATENCY, 1)(ALL)[-1] == DYNAMIC
    assert Prior((slow.model_copy(update={"likeness": 0.5}), quick), Objective.LATENCY, 1)(ALL)[-1] == DYNAMIC
    assert Prior((slow.model_copy(update={"likeness": 0.1}), quick), Objective.LATENCY, 1)(ALL)[0] == DYNAMIC


def test_names_of_layers_are_only_counted() -> None:
    assert key_of(FIRST) == key_of((Simplify(), Quantize(exclude=("layer 7",))))
    assert key_of(FIRST) != key_of((Simplify(), Quantize(exclude=("layer 7", "layer 8"))))
    assert key_of((Finetune(epochs=3),)) == key_of((Finetune(epochs=9),))
    assert key_of((Finetune(epochs=3),)) != key_of((Finetune(epochs=3, batch_size=8),))
