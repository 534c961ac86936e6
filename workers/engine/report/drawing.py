"""Drawing into SVG that belongs to the page: its fonts, its colours in light and dark, readable by a screen reader."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

mpl.use("agg")

INK = "#0a0b01"
MUTED = "#0a0b02"
GRID = "#0a0b03"
ORIGINAL = "#0a0b04"
RESULT = "#0a0b05"
PAPER = "#0a0b06"
THIRD = "#0a0b07"
FOURTH = "#0a0b08"
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    ORIGINAL: "var(--original)",
    RESULT: "var(--result)",
    PAPER: "var(--paper)",
    THIRD: "var(--third)",
    FOURTH: "var(--fourth)",
}
"""Colours that no chart shows: each stands for one of the page's, which has two of them, for light and for dark."""

SERIES = (RESULT, ORIGINAL, THIRD, FOURTH)
PER_INCH = 72
WIDTH = 420
"""Pixels. Charts stand side by side on wide pages and are hardly scaled on narrow ones, so their text stays legible."""

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": PER_INCH,
    "font.size": 11,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "lines.linewidth": 2.2,
    "lines.solid_capstyle": "round",
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 10.5,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 10.5,
}
NOTHING_OF_THE_MAKER = {"Date": None, "Creator": None, "Format": None, "Type": None}

PROLOGUE = re.compile(r"^.*?(?=<svg )", re.DOTALL)
EXTENT = re.compile(r'(?<=<svg )([^>]*?)width="[^"]*" height="[^"]*"')
FONT = re.compile(r" ?font-family: [^;\"]+;?")
GLOBAL_STYLE = re.compile(r"<style.*?</style>", re.DOTALL)
IDS = re.compile(r'(\bid="|url\(#|href="#)')


@dataclass
class Drawing:
    """Axes to draw on. `label` says in a sentence what is shown, for those who do not see it."""

    figure: Figure
    axes: Axes
    label: str = ""
    svg: Markup = field(default_factory=Markup)


@contextmanager
def chart(name: str, height: int) -> Iterator[Drawing]:
    """Draw on the axes inside the `with`; `svg` is there behind it.

    `name` must be unique on the page, `height` is in pixels.
    """
    settings: Any = STYLE | {"svg.hashsalt": name}
    with mpl.rc_context(settings), warnings.catch_warnings():
        # Text is drawn by the browser; that matplotlib's own font lacks a letter only makes its measure a guess.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(WIDTH / PER_INCH, height / PER_INCH), layout="constrained")
        drawing = Drawing(figure, figure.add_subplot())
        yield drawing
        raw = io.StringIO()
        figure.savefig(raw, format="svg", metadata=NOTHING_OF_THE_MAKER)
    drawing.svg = _at_home(raw.getvalue(), name, drawing.label)


def _at_home(svg: str, name: str, label: str) -> Markup:
    """Make a stand-alone SVG part of the page: no prologue, size left to CSS, own ids, the page's colours and font."""
    svg = PROLOGUE.sub("", svg, count=1)
    svg = EXTENT.sub(lambda found: f'{found[1]}role="img" aria-label="{escape(label)}"', svg, count=1)
    svg = IDS.sub(rf"\g<1>{name}-", svg)
    svg = FONT.sub("", GLOBAL_STYLE.sub("", svg, count=1))
    for placeholder, variable in VARIABLES.items():
        svg = svg.replace(placeholder, variable)
    return Markup(svg.strip())  # noqa: S704  # matplotlib escapes the text it writes, and the label is escaped here
