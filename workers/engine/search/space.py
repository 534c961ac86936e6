"""Which recipes are worth a try, cheap ones first; what comes next depends on what was found."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from whetstone.contract.jobs import Objective
from whetstone.contract.passes import Pass, Simplify
from whetstone.contract.quantization import Activations, ActivationType, Calibrator, Partial, Precision, Quantize
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import Layer, layers_of
from workers.engine.passes.quantizer import STATIC_OPS

Recipe = tuple[Pass, ...]
HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
FIRST_LAYERS = (1, 3)
MOST_SENSITIVE = 8


@dataclass(frozen=True)
class Known:
    """What proposals depend on. `lossy` tells whether a recipe was found to lose more than the budget allows."""

    graph: Graph
    has_data: bool
    objective: Objective
    max_drop: float
    lossy: Callable[[Recipe], bool]


def proposals(known: Known) -> Iterator[Recipe]:
    """Recipes in the order they should be tried. Read lazily: later ones look at what earlier ones lost."""
    start: Recipe = (Simplify(),)
    yield start
    yield from ((*start, config) for config in _integers(known, start))
    yield from ((*start, config) for config in _storage(known))


def _integers(known: Known, start: Recipe) -> Iterator[Quantize]:
    if known.has_data:
        plain = Quantize()
        yield plain
        yield Quantize(activations=Activations.DYNAMIC)
        yield from _gentler(known, plain, start)
        yield Quantize(activation_type=ActivationType.INT8)
    else:
        yield Quantize(activations=Activations.DYNAMIC)
        yield Quantize(activations=Activations.DYNAMIC, per_channel=False)


def _gentler(known: Known, plain: Quantize, start: Recipe) -> Iterator[Quantize]:
    """Fewer operators, other ranges, layers left in float: for where the plain one loses too much, or gains little."""
    light = _light_ops(known.graph)
    if light:
        yield plain.model_copy(update={"exclude_ops": light})
    first = [layer.name for layer in layers_of(known.graph) if layer.op in HEAVY]
    for count in FIRST_LAYERS:
        if len(first) > count:
            yield plain.model_copy(update={"exclude": tuple(dict.fromkeys(first[:count]))})
    if known.lossy((*start, plain)):
        for calibrator in (Calibrator.ENTROPY, Calibrator.MSE, Calibrator.PERCENTILE):
            yield plain.model_copy(update={"calibrator": calibrator})
        yield plain.model_copy(update={"partial": Partial(max_drop=known.max_drop, max_trials=MOST_SENSITIVE)})


def _light_ops(graph: Graph) -> tuple[str, ...]:
    """Operators with an integer form that do little work: in float they cost a conversion and keep their accuracy."""
    present = {node.op_type for node in graph.nodes}
    return tuple(sorted((present & set(STATIC_OPS)) - HEAVY))


def _storage(known: Known) -> Iterator[Quantize]:
    """Smaller files. Where speed is wanted they seldom help on a CPU, so they come last."""
    yield Quantize(precision=Precision.FP16)
    if _products(known.graph):
        yield Quantize(precision=Precision.INT4)
        if known.objective is Objective.SIZE:
            yield Quantize(precision=Precision.INT4, block_size=128)
            yield Quantize(activations=Activations.NONE)


def _products(graph: Graph) -> list[Layer]:
    return [layer for layer in layers_of(graph) if layer.op in ("MatMul", "Gemm")]
