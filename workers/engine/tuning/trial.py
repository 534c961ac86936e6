"""The `trial` step: choose values, run the recipe with them, and see what it came to."""

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from whetstone.contract.datasets import Split
from whetstone.contract.failures import FailureCode
from whetstone.contract.learning import Finetune
from whetstone.contract.steps import InputRole, TryValues, ValuesTried
from whetstone.contract.trials import Score
from whetstone.contract.tuning import Quantity, Values, applied
from workers.engine.data.fit import fitting_samples
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.graph.macs import count_macs
from workers.engine.importers.detect import open_model
from workers.engine.measure.feed import Feed
from workers.engine.measure.latency import cores_for
from workers.engine.optimize import Stage, context_for
from workers.engine.passes.graph_pass import Outcome
from workers.engine.passes.sequence import make
from workers.engine.request import Chosen, Done, Message, Progress, Request
from workers.engine.search.front import miss
from workers.engine.search.trial import FULL, HARDLY_TIMED, Bench, Depth
from workers.engine.tuning.choosing import choose
from workers.engine.tuning.stopping import Watch, metric_of

Tell = Callable[[Message], None]
SHARE_OF_PASSES = 0.9


class Pruned(Exception):
    """The pruner sees no hope in this trial."""


class NotJudged(EngineError):
    """The result has nothing of what the objective counts."""

    code = FailureCode.NOTHING_TO_DO


def try_values(request: Request, task: TryValues, tell: Tell) -> Done:
    """Tells the values as soon as they are chosen. Raises EngineError where the recipe cannot be run with them, or its
    result cannot be judged.
    """
    values = task.parameters or choose(task.tune, task.number, task.trials)
    tell(Chosen(parameters=values))
    return Done(result=_Trial(request, task, values, tell).run())


class _Trial:
    """One run of the recipe, watched by the pruner."""

    def __init__(self, request: Request, task: TryValues, values: Values, tell: Tell) -> None:
        self._request, self._task, self._values, self._tell = request, task, values, tell
        self._passes = applied(task.tune.passes, values)
        self._watch = Watch(task.tune, task.number, task.trials)
        self._learner = max((i for i, each in enumerate(self._passes) if isinstance(each, Finetune)), default=None)

    def run(self) -> ValuesTried:
        original = open_model(self._request.inputs[InputRole.MODEL], self._request.scratch)
        samples = fitting_samples(self._request, original.inputs)
        try:
            graph, learned = self._apply(original, samples)
        except Pruned:
            return self._result(None, None)
        self._say(SHARE_OF_PASSES, "measuring")
        score = self._bench(original, samples).score_at(graph, self._depth)
        values = tuple(self._value(each, original, graph, learned, score) for each in self._task.tune.objectives)
        return self._result(values, miss(score, self._task.budget))

    @property
    def _depth(self) -> Depth:
        timed = Quantity.LATENCY in self._task.tune.objectives or self._task.budget.max_latency_ms is not None
        return FULL if timed else HARDLY_TIMED

    def _result(self, values: tuple[float, ...] | None, over: float | None) -> ValuesTried:
        reported = tuple(self._watch.reported)
        return ValuesTried(parameters=self._values, values=values, reported=reported, over=over)

    def _apply(self, original: Graph, samples: Samples | None) -> tuple[Graph, Outcome | None]:
        """The result of all passes, and what the last `finetune` says of itself. Raises Pruned."""
        graph, learned = original, None
        for index, config in enumerate(self._passes):
            stage = Stage(index, len(self._passes), config, self._listener(index))
            context = context_for(stage, self._request, self._task.measurement.batch_size)
            context = replace(context, keeper=None)  # a trial that is lost begins anew
            outcome = make(config).apply(graph, samples, context)
            graph, learned = outcome.graph, outcome if index == self._learner else learned
        return graph, learned

    def _listener(self, index: int) -> Tell:
        metric = metric_of(self._task.tune)

        def hear(message: Message) -> None:
            if not isinstance(message, Progress):
                return
            self._say(SHARE_OF_PASSES * message.fraction, message.message, message.metrics)
            if (
                index == self._learner
                and metric in message.metrics
                and self._watch.is_hopeless(message.metrics[metric])
            ):
                raise Pruned

        return hear

    def _say(self, fraction: float, message: str, metrics: dict[str, float] | None = None) -> None:
        told = f"trial {self._task.number}: {message}"
        self._tell(Progress(fraction=fraction, message=told[:500], metrics=metrics or {}))

    def _bench(self, original: Graph, samples: Samples | None) -> Bench:
        task = self._task
        feed = Feed(original.inputs, task.measurement.batch_size, task.input_shapes, samples, Split.CALIBRATION)
        feed.check()
        cores = cores_for(task.measurement.threads)
        scratch = self._request.scratch / "bench"
        return Bench(task.target, original, feed, task.budget, cores, scratch, task.preset.metric)

    def _value(self, of: Quantity, before: Graph, after: Graph, learned: Outcome | None, score: Score) -> float:
        match of:
            case Quantity.DROP:
                return score.lost
            case Quantity.VALIDATION_LOSS | Quantity.VALIDATION_ACCURACY:
                return self._kept(learned, of)
            case Quantity.LATENCY:
                return 1 / score.speedup
            case Quantity.SIZE:
                return 1 / score.size_ratio
            case Quantity.MACS:
                return _share_of_macs(before, after)
            case _:
                assert_never(of)

    def _kept(self, learned: Outcome | None, of: Quantity) -> float:
        """The metric after the epoch whose weights were kept: with early stopping that of the lowest loss."""
        curves = {curve.name.replace(" ", "_"): curve.y for curve in (learned.curves if learned else ())}
        if of not in curves or self._learner is None:
            raise NotJudged(f"There is no {of}: the labels are no classes.", hint="Take validation_loss.")
        losses, config = curves[Quantity.VALIDATION_LOSS], self._passes[self._learner]
        stops = isinstance(config, Finetune) and config.early_stopping is not None
        return curves[of][losses.index(min(losses)) if stops else -1]


def _share_of_macs(before: Graph, after: Graph) -> float:
    """Raises NotJudged where they cannot be counted."""
    old, new = count_macs(before), count_macs(after)
    if not old or new is None:
        raise NotJudged("The multiply-accumulates of the model cannot be counted.", hint="Take latency instead.")
    return new / old
