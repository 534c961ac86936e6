"""How often a graph is right, for benchmarks that compare graphs rather than delivered files."""

import onnxruntime as ort

from whetstone.contract.datasets import Split
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph

BATCH = 500


def accuracy(graph: Graph, data: Samples) -> float:
    """Percent of the test split that onnxruntime gets right by the largest value of the only output."""
    session = ort.InferenceSession(graph.model.SerializeToString(), providers=["CPUExecutionProvider"])
    hits = 0
    for batch in data.batches(Split.TEST, BATCH, with_labels=True):
        (scores,) = session.run(None, batch.inputs)
        hits += int((scores.argmax(1) == batch.labels).sum())
    return 100 * hits / data.count(Split.TEST)
