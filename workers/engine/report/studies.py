"""The charts of a study: what its trials came to, which parameters mattered, and where the good values lie."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from whetstone.contract.tuning import Choice, Domain, Quantity, Study, TrialRead, TrialState, Tune
from workers.engine.report.charts import as_label, bars
from workers.engine.report.drawing import INK, MUTED, ORIGINAL, PAPER, RESULT, chart
from workers.engine.report.wording import number, plain
from workers.engine.tuning.choosing import study_of
from workers.engine.tuning.space import position

LEAST_TRIALS = 10
"""So many completed trials it takes to say which parameters mattered."""

MOST_PARAMETERS = 12
BAR_PIXELS = 24
FRAME_PIXELS = 70


def study_charts(study: Study) -> dict[str, Markup]:
    """Titles and pictures. Nothing is drawn of a study of no completed trial."""
    complete = [trial for trial in study.trials if trial.state is TrialState.COMPLETE]
    drawn = {f"{_named(of)} by trial": _history(study, place, of) for place, of in enumerate(study.tune.objectives)}
    objectives = study.tune.objectives
    if len(objectives) > 1:
        drawn["Pareto front"] = _front(study, complete)
    drawn["Parallel coordinates"] = _parallel(study, complete)
    found = importances(study)
    if found:
        drawn["Importance of the parameters"] = _importance(found)
    return drawn


def importances(study: Study) -> dict[str, float]:
    """The share of each parameter in how the best tenth of the trials by the first objective stands out, by PED-ANOVA
    (Watanabe et al. 2023); the largest first. Empty where there are too few trials, or one parameter.
    """
    first = study.tune.model_copy(update={"objectives": study.tune.objectives[:1]})
    trials = [
        trial.model_copy(update={"values": trial.values[:1]})
        for trial in study.trials
        if trial.state is TrialState.COMPLETE and trial.values
    ]
    if len(trials) < LEAST_TRIALS or len(first.parameters) == 1 or len({trial.values for trial in trials}) == 1:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return optuna.importance.get_param_importances(study_of(first, trials), evaluator=evaluator)


def _history(study: Study, place: int, of: Quantity) -> Markup:
    """A dot for each completed trial, the best so far as a line; the others as ticks along the bottom."""
    points = sorted((trial.number, trial.values[place]) for trial in study.trials if trial.values)
    better = np.maximum if of.is_maximized else np.minimum
    with chart(f"study-history{place}", height=230) as drawing:
        axes = drawing.axes
        numbers, values = zip(*points, strict=True)
        axes.step(numbers, better.accumulate(values), where="post", color=RESULT, linewidth=1.6)
        axes.plot(numbers, values, "o", color=ORIGINAL, markersize=5, markeredgecolor=PAPER)
        chosen = next(trial for trial in study.trials if trial.number == study.chosen)
        if chosen.values:
            axes.plot([chosen.number], [chosen.values[place]], "o", color=RESULT, markersize=10, markeredgecolor=PAPER)
        without = [trial.number for trial in study.trials if trial.values is None]
        axes.plot(without, [0.02] * len(without), "|", color=MUTED, transform=axes.get_xaxis_transform())
        axes.set(xlabel="trial", ylabel=_named(of).lower())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        best = better.reduce(values)
        drawing.label = f"{_named(of)} of {len(points)} completed trials; the best is {number(float(best))}"
    return drawing.svg


def _front(study: Study, complete: Sequence[TrialRead]) -> Markup:
    """The first two objectives against each other; the front joined by a line."""
    points = {trial.number: trial.values[:2] for trial in complete if trial.values}
    front = sorted(points[each] for each in study.front)
    with chart("study-front", height=260) as drawing:
        axes = drawing.axes
        axes.plot(*zip(*front, strict=True), color=RESULT, linewidth=1.4, alpha=0.5)
        for each, (x, y) in points.items():
            color, size = (
                (RESULT, 11) if each == study.chosen else (RESULT, 6) if each in study.front else (ORIGINAL, 5)
            )
            axes.plot([x], [y], "o", color=color, markersize=size, markeredgecolor=PAPER)
        one, other = (_named(of).lower() for of in study.tune.objectives[:2])
        axes.set(xlabel=one, ylabel=other)
        drawing.label = f"{len(points)} trials, {one} against {other}; {len(study.front)} on the front"
    return drawing.svg


def _importance(found: dict[str, float]) -> Markup:
    top = dict(list(found.items())[:MOST_PARAMETERS])
    with chart("study-importance", height=FRAME_PIXELS + BAR_PIXELS * len(top)) as drawing:
        bars(drawing.axes, [as_label(name) for name in top], list(top.values()), [RESULT] * len(top), _percent)
        drawing.axes.set(xlim=(0, 1.2 * max(*top.values(), 0.01)), xticks=[])
        drawing.label = "Importance: " + ", ".join(f"{name} {_percent(share)}" for name, share in top.items())
    return drawing.svg


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _parallel(study: Study, complete: Sequence[TrialRead]) -> Markup:
    """A line for each completed trial across its parameters, to the first objective; the better the stronger."""
    tune = study.tune
    parameters = dict(list(tune.parameters.items())[:MOST_PARAMETERS])
    ranked = sorted(complete, key=lambda trial: _cost(tune, trial), reverse=True)
    with chart("study-parallel", height=300) as drawing:
        axes = drawing.axes
        ends = [trial.values[0] for trial in ranked if trial.values]
        low, high = min(ends), max(ends)
        for rank, trial in enumerate(ranked, 1):
            heights = [position(domain, (trial.parameters or {})[name]) for name, domain in parameters.items()]
            last = ((trial.values or (0.0,))[0] - low) / (high - low) if high > low else 0.5
            is_chosen = trial.number == study.chosen
            strength = 1.0 if is_chosen else 0.15 + 0.5 * (rank / len(ranked)) ** 2
            width = 2.6 if is_chosen else 1.2
            axes.plot([*heights, last], color=RESULT if is_chosen else ORIGINAL, alpha=strength, linewidth=width)
        _name_axes(axes, parameters, tune.objectives[0], (low, high))
        drawing.label = f"Parallel coordinates of {len(ranked)} trials over {', '.join(parameters)}"
    return drawing.svg


def _name_axes(axes: Axes, parameters: dict[str, Domain], of: Quantity, ends: tuple[float, float]) -> None:
    """Each axis with its name below, and what its ends are."""
    names = [*(as_label(name) for name in parameters), _named(of).lower()]
    limits: list[tuple[str, str]] = [*map(_ends, parameters.values()), (number(ends[0]), number(ends[1]))]
    for place, (low, high) in enumerate(limits):
        axes.axvline(place, color=MUTED, linewidth=0.8)
        style: dict[str, Any] = {"ha": "center", "fontsize": 9.5, "color": INK}
        axes.annotate(as_label(low), (place, 0), xytext=(0, -13), textcoords="offset points", **style)
        axes.annotate(as_label(high), (place, 1), xytext=(0, 6), textcoords="offset points", **style)
    axes.set(ylim=(-0.12, 1.12), yticks=[])
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)


def _ends(domain: Domain) -> tuple[str, str]:
    if isinstance(domain, Choice):
        return plain(domain.values[0]), plain(domain.values[-1])
    write: Callable[[float], str] = number
    return write(domain.low), write(domain.high)


def _cost(tune: Tune, trial: TrialRead) -> float:
    value = (trial.values or (0.0,))[0]
    return -value if tune.objectives[0].is_maximized else value


def _named(of: Quantity) -> str:
    return of.replace("_", " ").capitalize()
