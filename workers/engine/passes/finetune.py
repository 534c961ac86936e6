"""Train the weights against labels; zeros can be held."""

from whetstone.contract.datasets import Split
from whetstone.contract.learning import Finetune
from workers.engine.data.fit import fixed_at_one
from workers.engine.data.samples import Samples
from workers.engine.graph.edit import separate_statistics
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import layers_of
from workers.engine.graph.trainable import Trainable
from workers.engine.passes.checks import same_interface
from workers.engine.passes.errors import BrokenResult
from workers.engine.passes.graph_pass import Context, GraphPass, Outcome
from workers.engine.passes.learning import Masks, labelled, telling, trainable
from workers.engine.training.loop import Course, Learned, learn

MATRIX_RANK = 2


def _summary(learned: Learned, samples: int) -> str:
    first, best = learned.epochs[0], learned.epochs[learned.best - 1]
    told = f"Trained {len(learned.epochs)} epochs on {samples} samples; kept the weights of epoch {learned.best}"
    if best.validation_accuracy is None or first.validation_accuracy is None:
        return f"{told}, validation loss {best.validation_loss:.4g}."
    return f"{told}, validation accuracy {best.validation_accuracy:.2%}."


class FinetunePass(GraphPass[Finetune]):
    """On a pruned graph this is recovery, on a quantized one quantization-aware training."""

    def requires(self, graph: Graph, data: Samples | None) -> None:
        labelled(data)
        trainable(graph, self.config.loss)

    def _masks(self, module: Trainable) -> Masks:
        """Zeros of matrices and kernels are held; a bias that happens to be zero may move."""
        held = {n: w.data for n, w in module.weights.items() if w.dim() >= MATRIX_RANK and self.config.hold_sparsity}
        return Masks(held)

    def ensures(self, before: Graph, after: Graph) -> None:
        same_interface(before, after)
        for layer in layers_of(before):
            old, new = before.weight(layer.weight), after.weight(layer.weight)
            if self.config.hold_sparsity and old.dtype.kind == "f" and new[old == 0].any():
                raise BrokenResult(f"Weights of '{layer.name}' that were zero are so no longer.")

    def run(self, graph: Graph, data: Samples | None, context: Context) -> Outcome:
        samples = labelled(data)
        after = graph.copy()
        separate_statistics(after)
        module, objective = trainable(after, self.config.loss)
        masks = self._masks(module)
        course = Course(
            samples,
            self.config,
            objective,
            context.threads,
            self.config.validation_fraction,
            feed_singly=fixed_at_one(graph.inputs),
            hooks=telling(context, lambda _: masks.hold()),
        )
        learned = learn(module, course)
        module.write_back(after)
        return Outcome(after, _summary(learned, samples.count(Split.TRAIN)), curves=learned.curves())
