"""The charts of a report. Who calls has looked that there is something to draw."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from whetstone.contract.insights import Calibration, Importance, LayerNoise
from whetstone.contract.reports import Candidate, Curve, Estimate, Latency, LayerChange, ScenarioReport, TargetReport
from workers.engine.report.drawing import INK, MUTED, ORIGINAL, PAPER, RESULT, SERIES, chart
from workers.engine.report.wording import SETTINGS, interval, milliseconds, number, percent, size, times

DASHED = (0, (5, 2))
MOST_LAYERS = 40
LONGEST_NAME = 28
BAR_PIXELS = 22
FRAME_PIXELS = 70
QUIET_DB = 40
"""A hundredth of the signal; the least that the axis of a chart of signal to noise reaches to."""

LEAST_DOT, MOST_DOT = 18, 160
"""Of a dot's area, in square points."""

BITS = {"float64": 64, "float32": 32, "float16": 16, "bfloat16": 16, "int16": 16, "uint16": 16}
BITS |= {"int8": 8, "uint8": 8, "int4": 4, "uint4": 4}
TYPE = re.compile(r"\b(" + "|".join(BITS) + r")\b")
PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def speedup_chart(name: str, speedup: Estimate) -> Markup:
    """A dot with its interval, against the line where nothing was gained."""
    with chart(name, height=118) as drawing:
        axes = drawing.axes
        axes.axvline(1, color=ORIGINAL, linewidth=1.6, linestyle=(0, (4, 3)))
        axes.plot([speedup.low, speedup.high], [0, 0], color=RESULT, linewidth=10, alpha=0.35)
        axes.plot([speedup.value], [0], "o", color=RESULT, markersize=11, markeredgecolor=PAPER, markeredgewidth=1.5)
        _note(axes, times(speedup.value), at=(speedup.value, 0), shift=12, color=INK, ha="center", fontweight="bold")
        _note(axes, "same speed", at=(1, 0), shift=24, color=MUTED, ha="center", backgroundcolor=PAPER)
        low, high = min(1.0, speedup.low), max(1.0, speedup.high)
        room = 0.25 * (high - low) or 0.1
        axes.set(xlim=(low - room, high + room), ylim=(-1, 1.4), yticks=[], xlabel="times as fast as the original")
        axes.spines["left"].set_visible(False)
        drawing.label = f"Speed-up {times(speedup.value)}, {interval(speedup, times)}"
    return drawing.svg


def latency_chart(name: str, original: Latency, result: Latency) -> Markup:
    """How many calls were done after how long. Calls of twice the p90 and more are cut off: they would flatten all."""
    with chart(name, height=304) as drawing:
        _draw_distribution(drawing.axes, original, "original", color=ORIGINAL, linestyle=DASHED)
        _draw_distribution(drawing.axes, result, "result", color=RESULT, linestyle="-")
        right = max(min(2 * latency.curve[90], latency.curve[-1]) for latency in (original, result))
        drawing.axes.set(xlim=(0, 1.03 * right), ylim=(0, 102), xlabel="milliseconds", ylabel="% of calls done")
        drawing.axes.legend(loc="lower right")
        drawing.label = (
            f"Latency distribution: mean {milliseconds(original.mean_ms)} of the original, "
            f"{milliseconds(result.mean_ms)} of the result"
        )
    return drawing.svg


def _draw_distribution(axes: Axes, latency: Latency, label: str, **style: Any) -> None:
    """`curve` holds quantiles from 0 to 100 percent, one a percent."""
    axes.plot(latency.curve, range(len(latency.curve)), label=label, **style)


def size_chart(name: str, report: TargetReport) -> Markup:
    """Two bars from zero."""
    original, result = report.original.size, report.result.size
    with chart(name, height=118) as drawing:
        bars(drawing.axes, ["original", "result"], [original, result], [ORIGINAL, RESULT], size)
        drawing.axes.set(xlim=(0, 1.3 * max(original, result)), xticks=[])
        drawing.label = f"File size: {size(original)} of the original, {size(result)} of the result"
    return drawing.svg


def calibration_chart(name: str, calibration: Calibration) -> Markup:
    """A reliability diagram: of each bin the confidence and the accuracy, its dot as large as its share of samples."""
    sides = (("original", calibration.original, ORIGINAL), ("result", calibration.result, RESULT))
    with chart(name, height=304) as drawing:
        axes = drawing.axes
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1.2, linestyle=DASHED)
        for label, side, colour in sides:
            sure = [100 * each.confidence for each in side.bins]
            right = [100 * each.accuracy for each in side.bins]
            areas = [LEAST_DOT + MOST_DOT * each.samples / calibration.samples for each in side.bins]
            axes.plot(sure, right, color=colour, linewidth=1.6, label=label)
            axes.scatter(sure, right, areas, color=colour, edgecolor=PAPER, zorder=3)
        axes.set(xlim=(0, 102), ylim=(0, 102), xlabel="confidence, %", ylabel="% that is right")
        axes.legend(loc="upper left")
        drawing.label = "Expected calibration error: " + ", ".join(
            f"{percent(side.error)} of the {label}" for label, side, _ in sides
        )
    return drawing.svg


def load_chart(name: str, report: ScenarioReport) -> Markup:
    """How the times of calls are spread at the only setting; of several, what grows with them."""
    if len(report.points) > 1:
        return _growth_chart(name, report)
    (point,) = report.points
    return latency_chart(name, point.original.latency, point.result.latency)


def _growth_chart(name: str, report: ScenarioReport) -> Markup:
    """Samples a second by threads or batch."""
    x_label, y_label = SETTINGS[report.scenario.kind], "samples a second"
    settings = [point.setting for point in report.points]
    with chart(name, height=230) as drawing:
        axes = drawing.axes
        told, highest = [], 0.0
        for side, colour, line in (("original", ORIGINAL, DASHED), ("result", RESULT, "-")):
            rates = [getattr(point, side).throughput for point in report.points]
            axes.plot(settings, rates, color=colour, linestyle=line, marker="o", markersize=5, label=side)
            told.append(f"{number(max(rates))} of the {side}")
            highest = max(highest, *rates)
        axes.set_xscale("log", base=2)
        axes.set_xticks(settings, [f"{setting:g}" for setting in settings])
        axes.minorticks_off()
        axes.set(ylim=(0, 1.1 * highest), xlabel=x_label, ylabel=y_label)
        axes.legend(loc="best")
        drawing.label = f"{y_label} by {x_label}, at most {', '.join(told)}"
    return drawing.svg


def candidates_chart(name: str, tried: Sequence[Candidate]) -> Markup:
    """What each candidate lost against how quick it was; the front joined by a line, the chosen one marked."""
    points = sorted(((one.lost or 0.0, one.speedup or 0.0, one) for one in tried), key=lambda point: point[:2])
    front = [(lost, speedup) for lost, speedup, one in points if one.front]
    with chart(name, height=260) as drawing:
        axes = drawing.axes
        axes.axhline(1, color=ORIGINAL, linewidth=1.4, linestyle=DASHED)
        if front:
            axes.plot(*zip(*front, strict=True), color=RESULT, linewidth=1.4, alpha=0.5)
        for lost, speedup, one in points:
            colour, size_ = (RESULT, 11) if one.chosen else (RESULT, 6) if one.front else (ORIGINAL, 5)
            axes.plot([lost], [speedup], "o", color=colour, markersize=size_, markeredgecolor=PAPER)
        axes.set(xlabel="lost", ylabel="times as fast as the original")
        chosen = next((one for one in tried if one.chosen), None)
        told = f"; chosen: {times(chosen.speedup or 0.0)} as fast" if chosen else "; none was chosen"
        drawing.label = f"{len(points)} candidates, loss against speed-up{told}"
    return drawing.svg


def curves_chart(name: str, curves: Sequence[Curve]) -> Markup:
    """Curves of the same axes together, such as training and validation loss."""
    with chart(name, height=230) as drawing:
        for index, curve in enumerate(curves):
            drawing.axes.plot(
                curve.x,
                curve.y,
                color=SERIES[index % len(SERIES)],
                linestyle="-" if index % 2 == 0 else DASHED,
                marker="o" if len(curve.x) == 1 else None,
                label=as_label(curve.name),
            )
        drawing.axes.set(xlabel=as_label(curves[0].x_label), ylabel=as_label(curves[0].y_label))
        drawing.axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(curves) > 1:
            drawing.axes.legend()
        drawing.label = "; ".join(f"{curve.name} from {curve.y[0]:.3g} to {curve.y[-1]:.3g}" for curve in curves)
    return drawing.svg


def sparsity_chart(name: str, layers: Sequence[LayerChange]) -> Markup:
    """The share of zeros in each layer's weight, in percent."""
    shares = {layer.name: share for layer in layers if (share := percent_in(layer.after)) is not None}
    return _layer_chart(name, shares, 100, "% of the weights are zero", lambda share: f"{share:.0f}%")


def bits_chart(name: str, layers: Sequence[LayerChange]) -> Markup:
    """The bits of each layer's weights."""
    bits = {layer.name: float(width) for layer in layers if (width := bits_in(layer.after)) is not None}
    return _layer_chart(name, bits, max(32, *bits.values()), "bits per weight", lambda width: f"{width:.0f}")


def noise_chart(name: str, layers: Sequence[LayerNoise]) -> Markup:
    """How near each layer's output stayed, in dB; those that stayed the same are left out."""
    moved = {layer.name: layer.sqnr_db for layer in layers if layer.sqnr_db is not None}
    return _layer_chart(name, moved, max(QUIET_DB, *moved.values()), "signal to noise, dB", number)


def importance_chart(name: str, groups: Sequence[Importance]) -> Markup:
    """A row of dots for each group, the first `MOST_LAYERS` of them: the scores in percent of the group's largest."""
    shown = groups[:MOST_LAYERS]
    with chart(name, height=FRAME_PIXELS + BAR_PIXELS * len(shown)) as drawing:
        axes = drawing.axes
        for label, colour, of in (("cut", ORIGINAL, "cut_scores"), ("kept", RESULT, "kept_scores")):
            rows = [(place, group, getattr(group, of)) for place, group in enumerate(shown)]
            dots = [(100 * score / (_largest(group) or 1), place) for place, group, scores in rows for score in scores]
            axes.plot(
                [x for x, _ in dots], [y for _, y in dots], "o", color=colour, markersize=4, alpha=0.7, label=label
            )
        axes.set_yticks(range(len(shown)), [as_label(group.name) for group in shown])
        axes.set(ylim=(len(shown) - 0.4, -0.6), xlabel="score, % of the largest")
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        drawing.figure.legend(loc="outside upper right", ncols=2)
        drawing.label = "Cut by importance: " + ", ".join(f"{each.name} {each.cut} of {each.units}" for each in shown)
    return drawing.svg


def _largest(group: Importance) -> float:
    return max(group.kept_scores + group.cut_scores, default=0.0)


def percent_in(text: str | None) -> float | None:
    """The first percentage in what a pass says of a layer."""
    found = PERCENT.search(text or "")
    return float(found[1]) if found else None


def bits_in(text: str | None) -> int | None:
    """The width of the first number type in what a pass says of a layer."""
    found = TYPE.search(text or "")
    return BITS[found[1]] if found else None


def _layer_chart(
    name: str, values: dict[str, float], limit: float, label: str, write: Callable[[float], str]
) -> Markup:
    """One bar a layer in the model's order, the first `MOST_LAYERS` of them."""
    shown = dict(list(values.items())[:MOST_LAYERS])
    with chart(name, height=FRAME_PIXELS + BAR_PIXELS * len(shown)) as drawing:
        bars(drawing.axes, list(map(as_label, shown)), list(shown.values()), [RESULT] * len(shown), write)
        drawing.axes.set(xlim=(min(0, *shown.values()), 1.15 * limit), xlabel=label)
        drawing.label = f"{label}: " + ", ".join(f"{layer} {write(value)}" for layer, value in shown.items())
    return drawing.svg


def bars(
    axes: Axes, names: list[str], values: Sequence[float], colors: list[str], write: Callable[[float], str]
) -> None:
    """Horizontal bars from the top down, each with its value behind it. Names may repeat."""
    drawn = axes.barh(range(len(names)), values, color=colors, height=0.66)
    axes.bar_label(drawn, [write(value) for value in values], padding=5, color=INK)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines["bottom"].set_visible(False)


def _note(axes: Axes, text: str, *, at: tuple[float, float], shift: float, **style: Any) -> None:
    axes.annotate(text, at, xytext=(0, shift), textcoords="offset points", fontsize=10.5, **style)


def as_label(name: str) -> str:
    """A name as a label: shortened in the middle; matplotlib would hide one that begins with an underscore."""
    half = LONGEST_NAME // 2
    short = name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[-half:]}"
    return f"\N{ZERO WIDTH SPACE}{short}" if short.startswith("_") else short
