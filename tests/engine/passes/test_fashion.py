"""The recipe on an eighth of Fashion-MNIST: half of the channels go, learning brings accuracy back, int8 keeps it.

`python -m benchmarks.fashion` does it with all of the images, and measures how much faster the results are.
"""

from pathlib import Path

import pytest

from examples import fashion
from tests.engine.models import accuracy
from whetstone.contract.learning import CosineRate, Finetune
from whetstone.contract.losses import CrossEntropy, SoftLabels
from whetstone.contract.passes import Pass
from whetstone.contract.pruning import Granularity, Prune, Scope
from whetstone.contract.quantization import Quantize
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.graph.graph import Graph
from workers.engine.graph.macs import count_macs
from workers.engine.importers.detect import open_model
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.sequence import make

pytestmark = pytest.mark.skipif(
    not fashion.is_there(), reason="needs Fashion-MNIST: apt-get install dataset-fashion-mnist, or set FASHION_MNIST"
)

SAMPLES = 8_000
HALF = Prune(granularity=Granularity.CHANNEL, sparsity=0.5, scope=Scope.LAYER)
LEARNING = Finetune(
    epochs=5,
    batch_size=64,
    learning_rate=3e-3,
    schedule=CosineRate(),
    warmup_steps=100,
    clip_norm=1.0,
    losses=(CrossEntropy(weight=0.5), SoftLabels(temperature=4, weight=0.5)),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    folder = tmp_path_factory.mktemp("fashion")
    return open_dataset(fashion.write(folder / "fashion.npz", SAMPLES), folder)


def passed(graph: Graph, data: Samples, folder: Path, *recipe: Pass) -> list[Graph]:
    """The graph after each pass; the teacher is the graph as it came."""
    context = Context(folder, threads=1, model=lambda _role: graph.copy())
    found = [graph]
    for config in recipe:
        found.append(make(config).apply(found[-1], data, context).graph)
    return found


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_half_of_the_channels_for_little_accuracy(name: str, data: Samples, tmp_path: Path) -> None:
    trained = fashion.export(fashion.train(fashion.NETWORKS[name], SAMPLES), tmp_path / "model.onnx")
    again = LEARNING.model_copy(update={"epochs": 1, "learning_rate": 1e-4})
    graphs = passed(open_model(trained, tmp_path), data, tmp_path, HALF, LEARNING, Quantize(), again)
    original, cut, learned, quantized, aware = (accuracy(graph, data) for graph in graphs)
    assert original > 0.8
    assert cut < original
    assert learned > original - 0.02
    assert max(quantized, aware) > learned - 0.005
    assert (count_macs(graphs[2]) or 0) < 0.51 * (count_macs(graphs[0]) or 0)
