"""Which candidates are worth a try, cheap ones first; what comes next depends on what was found."""

from collections.abc import Iterator
from itertools import chain, islice

from whetstone.contract.jobs import Objective
from whetstone.contract.quantization import (
    Activations,
    ActivationType,
    Calibrator,
    Partial,
    Precision,
    Quantize,
    Rounding,
    Smooth,
)
from whetstone.contract.trials import Proposal
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import Layer, layers_of
from workers.engine.passes.quantizing.quantizer import STATIC_OPS
from workers.engine.search.board import Recipe
from workers.engine.search.known import START, Known
from workers.engine.search.learned import recovered
from workers.engine.search.runtime import settings_for
from workers.engine.search.structure import smaller_graphs
from workers.engine.search.substituted import finished, substitutions

HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
FIRST_LAYERS = (1, 3)
MOST_SENSITIVE = 8
FINISHES = 2
"""How many ways to quantize are tried on a graph that was made smaller: the best ones of the graph that was not."""


def proposals(known: Known) -> Iterator[Proposal]:
    """Candidates in the order they should be tried. Read lazily: later ones look at what earlier ones came to. One way
    to quantize comes before the many rules that substitute, so that a search of few trials has tried both.
    """
    yield Proposal(recipe=START)
    yield from _settings(known)
    yield from map(_plain, islice(_quantized(known), 1))
    yield from map(_plain, substitutions(known))
    yield from map(_plain, _quantized(known))
    if known.board.budget.objective is Objective.SIZE:
        yield from map(_plain, known.choose(_storage(known)))
    yield from map(_plain, finished(known))
    yield from map(_plain, _smaller(known))
    if known.board.budget.objective is not Objective.SIZE:
        yield from map(_plain, known.choose(_storage(known)))
    yield from map(_plain, finished(known))
    yield from _settings(known)


def _plain(recipe: Recipe) -> Proposal:
    return Proposal(recipe=recipe)


def _settings(known: Known) -> Iterator[Proposal]:
    """What each runtime can be told, on the best of each target so far."""
    board = known.board
    best = dict.fromkeys(proposal.recipe for target in board.targets if (proposal := board.best(target)))
    for recipe in best or (known.start,):
        now = {board.settings(target) for target in board.targets}
        for settings in settings_for(board.targets, board.budget.objective, known.cores):
            if now != {settings}:
                yield Proposal(recipe=recipe, settings=settings)


def _quantized(known: Known) -> Iterator[Recipe]:
    dynamic = Quantize(activations=Activations.DYNAMIC)
    if not known.has_data:
        whole = dynamic.model_copy(update={"per_channel": False})
        yield from known.choose([(*known.start, dynamic), (*known.start, whole)])
        return
    plain = known.static()
    signed, faster = known.static(activation_type=ActivationType.INT8), known.static(only_faster=True)
    yield from known.choose([plain, (*known.start, dynamic), *_gentler(known), signed, faster])
    if known.board.lossy(plain):
        yield from known.choose(_more_exact(known))
        if known.lessons:
            yield from recovered(known.board, known.lessons, [plain])


def _gentler(known: Known) -> Iterator[Recipe]:
    """Fewer operators, or layers left in float: for where all of them lose too much, or gain little."""
    light = _light_ops(known.begun)
    if light:
        yield known.static(exclude_ops=light)
    heavy = [layer.name for layer in layers_of(known.begun) if layer.op in HEAVY]
    for count in FIRST_LAYERS:
        if len(heavy) > count:
            yield known.static(exclude=tuple(dict.fromkeys(heavy[:count])))
    if len(heavy) > 2:  # noqa: PLR2004 - else nothing would be left
        yield known.static(exclude=(heavy[0], heavy[-1]))


def _more_exact(known: Known) -> Iterator[Recipe]:
    """What quantizing does wrong put right, other ranges, and as few layers in float as it takes."""
    if _products(known.begun):
        yield known.static(smooth=Smooth())
        yield *known.start, Quantize(activations=Activations.DYNAMIC, smooth=Smooth())
    yield known.static(rounding=Rounding.LEARNED, bias_correction=True)
    yield known.static(equalize=True, bias_correction=True)
    for calibrator in (Calibrator.MINMAX, Calibrator.ENTROPY, Calibrator.MSE, Calibrator.PERCENTILE):
        yield known.static(calibrator=calibrator)
    allowed = min(known.board.allowed(), 100.0)
    yield known.static(partial=Partial(max_drop=allowed, max_trials=MOST_SENSITIVE, metric=known.preset.metric))


def _light_ops(graph: Graph) -> tuple[str, ...]:
    """Operators with an integer form that do little work: in float they cost a conversion and keep their accuracy."""
    present = {node.op_type for node in graph.nodes}
    return tuple(sorted((present & set(STATIC_OPS)) - HEAVY))


def _smaller(known: Known) -> Iterator[Recipe]:
    """Graphs with less in them: as they are, then with what they lost learned again, then quantized."""
    tried: list[Recipe] = []
    for recipe in known.choose((*known.start, config) for config in smaller_graphs(known.begun)):
        if known.lessons or not any(known.board.lossy(other) for other in tried if _are_kin(other, recipe)):
            yield recipe
            tried.append(recipe)
    promising = sorted(tried, key=known.board.promise, reverse=True)
    promising = [recipe for recipe in promising if known.gains(recipe)]
    lossy = [recipe for recipe in promising if known.board.lossy(recipe)]
    learned: list[Recipe] = []
    if known.lessons:
        for recipe in recovered(known.board, known.lessons, lossy):
            yield recipe
            learned.append(recipe)
    good = [
        recipe for recipe in chain(promising, learned) if known.board.seen(recipe) and not known.board.lossy(recipe)
    ]
    for recipe in sorted(good, key=known.board.promise, reverse=True)[:FINISHES]:
        yield from ((*recipe, config) for config in _best_ways(known))


def _are_kin(one: Recipe, other: Recipe) -> bool:
    """Whether two take the same away, more or less of it: where the gentler one lost too much the other loses more."""
    kinds = [(config.kind, getattr(config, "granularity", None)) for config in (one[-1], other[-1])]
    return kinds[0] == kinds[1]


def _best_ways(known: Known) -> list[Quantize]:
    """The ways to quantize that serve best by themselves."""
    tried = [proposal.recipe for target in known.board.targets for proposal in known.board.scores(target)]
    ways = [recipe for recipe in tried if len(recipe) == len(known.start) + 1 and not known.board.lossy(recipe)]
    best = sorted(dict.fromkeys(ways), key=known.board.promise, reverse=True)
    better = [recipe for recipe in best if known.gains(recipe)]
    return [config for recipe in better[:FINISHES] if isinstance(config := recipe[-1], Quantize)]


def _storage(known: Known) -> Iterator[Recipe]:
    """Smaller files. Where speed is wanted they seldom help on a CPU, so they come last."""
    yield *known.start, Quantize(precision=Precision.FP16)
    if _products(known.begun):
        yield *known.start, Quantize(precision=Precision.INT4)
        if known.board.budget.objective is Objective.SIZE:
            yield *known.start, Quantize(precision=Precision.INT4, block_size=128)
            yield *known.start, Quantize(activations=Activations.NONE)


def _products(graph: Graph) -> list[Layer]:
    return [layer for layer in layers_of(graph) if layer.op in ("MatMul", "Gemm")]
