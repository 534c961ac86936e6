"""Put operators in the place of others that compute the same (graph substitution, Jia et al. 2019)."""

from collections.abc import Callable, Iterator

from whetstone.contract.reports import LayerChange
from whetstone.contract.substitution import Rule, Substitute
from workers.engine.data.samples import Samples
from workers.engine.graph.edit import name_nodes
from workers.engine.graph.graph import Graph, name_of
from workers.engine.passes.checks import same_results
from workers.engine.passes.errors import NothingToDo
from workers.engine.passes.graph_pass import Context, GraphPass, Outcome
from workers.engine.passes.substituting import channels, function, layout, normalization, patches, pixels, table
from workers.engine.passes.substituting.replacement import Replacement, replaced
from workers.engine.passes.substituting.view import View

TOLERANCE = 1e-3
"""Sums in another order round differently, and what follows may make more of it; more than this is another function."""

FINDERS: dict[Rule, Callable[[View], Iterator[Replacement]]] = {
    Rule.TABLE: table.find,
    Rule.FUNCTION: function.find,
    Rule.NORMALIZATION: normalization.find,
    Rule.PATCHES: patches.find,
    Rule.CHANNELS: channels.find,
    Rule.PIXELS: pixels.find,
    Rule.LAYOUT: layout.find,
}


class SubstitutePass(GraphPass[Substitute]):
    """Changes no result but by rounding, which is checked on real or random inputs."""

    def run(self, graph: Graph, data: Samples | None, context: Context) -> Outcome:
        after, changes = graph.copy(), list[LayerChange]()
        name_nodes(after)
        for rule in dict.fromkeys(self.config.rules):
            after, made = replaced(after, FINDERS[rule](View(after)))
            changes += [_change(rule, each) for each in made]
        if not changes:
            raise NothingToDo(f"No part of the graph is one that {', '.join(self.config.rules)} would replace.")
        compared = same_results(graph, after, data, context.scratch, TOLERANCE)
        notes = () if compared else ("No inputs could be made up to compare the results with.",)
        old, new = len(graph.nodes), len(after.nodes)
        return Outcome(after, f"Replaced {len(changes)} parts: {old} nodes became {new}.", tuple(changes), notes=notes)


def rules_for(graph: Graph) -> tuple[Rule, ...]:
    """Those that find a place in a graph."""
    named = graph.copy()
    name_nodes(named)
    view = View(named)
    return tuple(rule for rule, find in FINDERS.items() if next(find(view), None) is not None)


def _change(rule: Rule, made: Replacement) -> LayerChange:
    first = made.gone[0]
    return LayerChange(
        name=name_of(first),
        op=first.op_type,
        change=f"substituted ({rule})",
        before=" → ".join(node.op_type for node in made.gone[:8]),
        after=made.told,
    )
