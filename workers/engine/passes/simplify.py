"""Fold constants, fuse what can be fused, drop what is not used (onnxslim)."""

import onnx
import onnxslim

from whetstone.contract.passes import Simplify
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph
from workers.engine.passes.checks import same_results
from workers.engine.passes.graph_pass import Context, GraphPass, Outcome

TOLERANCE = 1e-4
"""Folding a normalization into a convolution rounds differently; more than this is another function."""


class SimplifyPass(GraphPass[Simplify]):
    """Changes no result, which is checked on real or random inputs."""

    def run(self, graph: Graph, data: Samples | None, context: Context) -> Outcome:
        slim = onnxslim.slim(_undeclared(graph))
        for given, named in zip(_declared(graph.model), _declared(slim), strict=True):
            named.CopyFrom(given)  # onnxslim gives a name to axes that had none
        after = Graph(slim, upgraded_from=graph.upgraded_from)
        compared = same_results(graph, after, data, context.scratch, TOLERANCE)
        notes = () if compared else ("No inputs could be made up to compare the results with.",)
        old, new = len(graph.nodes), len(after.nodes)
        summary = f"Simplified {old} nodes to {new}." if new < old else f"Found nothing to simplify in {old} nodes."
        return Outcome(after, summary, notes=notes)


def _undeclared(graph: Graph) -> onnx.ModelProto:
    """A copy that says of no tensor but the inputs which shape it has. Models that run may say it wrongly, and onnxslim
    folds what follows from it.
    """
    model = graph.copy().model
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model


def _declared(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    return [*model.graph.input, *model.graph.output]
