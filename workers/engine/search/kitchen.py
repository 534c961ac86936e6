"""Runs recipes: a graph whose recipe begins another's is kept for a while, so that few passes run twice."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from whetstone.contract.passes import Pass
from whetstone.contract.reports import PassReport
from whetstone.contract.steps import InputRole
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph
from workers.engine.outcome import pass_report
from workers.engine.passes.errors import NeedsModel
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.sequence import make

Recipe = tuple[Pass, ...]
SHELVES = 6
"""How many graphs are kept, on disk: those used last."""


@dataclass(frozen=True)
class Made:
    """A graph that a recipe made, and what each pass did."""

    graph: Graph
    passes: tuple[PassReport, ...]


class Kitchen:
    """`original` is kept in memory, other graphs in files of `folder`."""

    def __init__(
        self, original: Graph, samples: Samples | None, folder: Path, threads: int, batch_size: int = 1
    ) -> None:
        self._original, self._samples, self._folder = original, samples, folder
        self._threads, self._batch_size = threads, batch_size
        self._kept: OrderedDict[Recipe, tuple[Path, tuple[PassReport, ...]]] = OrderedDict()
        self._number = 0
        folder.mkdir(parents=True, exist_ok=True)

    def make(self, recipe: Recipe, say: Callable[[str], None]) -> Made:
        """Raises EngineError where a pass refuses or fails."""
        if not recipe:
            return Made(self._original.copy(), ())
        if recipe in self._kept:
            self._kept.move_to_end(recipe)
            path, passes = self._kept[recipe]
            return Made(Graph(onnx.load_model(path)), passes)
        before = self.make(recipe[:-1], say)
        began = time.monotonic()
        outcome = make(recipe[-1]).apply(before.graph, self._samples, self._context(say))
        size = outcome.graph.model.ByteSize()
        report = pass_report(len(recipe) - 1, recipe[-1], outcome, time.monotonic() - began, size)
        made = Made(outcome.graph, (*before.passes, report))
        self._number += 1
        path = self._folder / f"made-{self._number}.onnx"
        made.graph.save(path)
        self.keep(recipe, path, made.passes)
        return made

    def keep(self, recipe: Recipe, path: Path, passes: tuple[PassReport, ...]) -> None:
        """Remember a graph that lies in a file; what was not used for longest goes."""
        self._kept[recipe] = path, passes
        while len(self._kept) > SHELVES:
            _, (old, _) = self._kept.popitem(last=False)
            for part in old.parent.glob(f"{old.name}*"):  # weights of 2 GiB and more lie beside it
                part.unlink()

    def _context(self, say: Callable[[str], None]) -> Context:
        return Context(
            self._folder,
            self._threads,
            lambda _share, message, _metrics: say(message),
            model=self._model,
            batch_size=self._batch_size,
        )

    def _model(self, role: InputRole) -> Graph:
        """The original, which is the teacher of whatever learns here."""
        if role is not InputRole.MODEL:
            raise NeedsModel(f"A search has no {role} model.")
        return self._original.copy()
