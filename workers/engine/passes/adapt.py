"""Move a model to a new domain, known by samples without labels."""

from typing import assert_never

import torch

from whetstone.contract.adaptation import Adapt, BatchNormStatistics, Coral, Mmd, SelfDistillation
from whetstone.contract.datasets import Split
from whetstone.contract.learning import Mode
from whetstone.contract.losses import PseudoLabels
from workers.engine.data.fit import fixed_at_one
from workers.engine.data.samples import Samples
from workers.engine.graph.edit import separate_statistics
from workers.engine.graph.graph import Graph
from workers.engine.passes.adapting.features import aligned_tensor, check_batches
from workers.engine.passes.adapting.statistics import adaptable, renew_statistics
from workers.engine.passes.errors import NeedsDataset, NothingToDo
from workers.engine.passes.graph_pass import Context, GraphPass, Outcome
from workers.engine.passes.learning import module_for, telling, trainable
from workers.engine.training.alignment import Alignment
from workers.engine.training.average import MovingAverage
from workers.engine.training.course import Course
from workers.engine.training.gradients import device_of
from workers.engine.training.labels import fitting_loss
from workers.engine.training.loop import learn
from workers.engine.training.losses import sure_of
from workers.engine.training.objective import TERMS, Objective, aims_of, without_labels
from workers.engine.training.progress import Learned
from workers.engine.training.teacher import open_teacher

STATISTICS_SAMPLES = BatchNormStatistics().samples


def _target(data: Samples | None) -> Samples:
    """Raises NeedsDataset unless there are samples of the new domain."""
    if data is None or not data.has(Split.TRAIN):
        raise NeedsDataset(
            "adapt needs samples of the new domain in the train split of the job's dataset.",
            hint="Name their arrays 'train/…'; they need no labels.",
        )
    return data


class AdaptPass(GraphPass[Adapt]):
    """By statistics alone, or by learning."""

    def requires(self, graph: Graph, data: Samples | None) -> None:
        _target(data)
        match method := self.config.method:
            case BatchNormStatistics():
                adaptable(graph)
            case Coral() | Mmd():
                check_batches(graph)
                aligned_tensor(graph, method.tensor)
                trainable(graph, method.learning.loss)
            case SelfDistillation():
                trainable(graph, None)
            case _:
                assert_never(method)

    def run(self, graph: Graph, data: Samples | None, context: Context) -> Outcome:
        after, target = graph.copy(), _target(data)
        separate_statistics(after)
        match method := self.config.method:
            case BatchNormStatistics():
                layers, count = renew_statistics(after, target, method.samples, context)
                return Outcome(after, f"Measured {len(layers)} batch-norms anew on {count} samples.", layers)
            case Coral() | Mmd():
                return _align(method, after, target, context)
            case SelfDistillation():
                return _distil(method, graph, after, target, context)
            case _:
                assert_never(method)


def _losses(learned: Learned) -> str:
    first, best = learned.epochs[0].loss, learned.epochs[learned.best - 1].loss
    return f"the training loss went from {first:.4g} to {best:.4g}"


def _on_source(graph: Graph, source: Samples, method: Coral | Mmd, tensor: str) -> tuple[Objective, bool]:
    """What is learned on the source beside the alignment, and whether from labels."""
    labelled = method.learning.loss is not None or source.has_labels(Split.TRAIN)
    term = TERMS[method.learning.loss or fitting_loss(graph, source)]() if labelled else without_labels(graph)
    objective = aims_of(graph, (term,), None if labelled else graph)
    return Objective(objective.output, objective.aims, also=(tensor,)), labelled


def _align(method: Coral | Mmd, after: Graph, target: Samples, context: Context) -> Outcome:
    source, tensor = context.source(after), aligned_tensor(after, method.tensor)
    objective, labelled = _on_source(after, source, method, tensor)
    teacher = None if labelled else after.copy()
    module = module_for(after, objective)
    course = Course(
        source,
        method.learning,
        objective,
        context.threads,
        hooks=telling(context, lambda _: None),
        teacher=teacher,
        scratch=context.scratch,
        alignment=Alignment(method, tensor, target),
    )
    learned = learn(module, course)
    module.write_back(after)
    samples = f"{source.count(Split.TRAIN)} source and {target.count(Split.TRAIN)} target samples"
    notes = [f"On the source it learned from {'labels' if labelled else 'what the model itself made of it'}."]
    if method.learning.batch_norm is Mode.TRAIN and any(node.op_type == "BatchNormalization" for node in after.nodes):
        renewed, count = renew_statistics(after, target, STATISTICS_SAMPLES, context)
        notes.append(f"Then {len(renewed)} batch-norms were measured anew on {count} target samples.")
    summary = f"Aligned '{tensor}' in {len(learned.epochs)} epochs on {samples}; {_losses(learned)}."
    return Outcome(after, summary, curves=learned.curves(), notes=tuple(notes))


def _sure(graph: Graph, objective: Objective, method: SelfDistillation, target: Samples, context: Context) -> float:
    """The share of the train split whose class the teacher is sure of at the start."""
    (name,) = objective.taught
    teacher = open_teacher(graph, (name,), device=device_of(), folder=context.scratch, threads=context.threads)
    size = 1 if fixed_at_one(graph.inputs) else method.learning.batch_size
    sure = decided = 0
    for batch in target.batches(Split.TRAIN, size):
        inputs = {name: torch.from_numpy(value).to(device_of()) for name, value in batch.inputs.items()}
        found = sure_of(teacher(inputs)[name].float(), method.confidence)[1]
        sure, decided = sure + int(found.sum()), decided + found.numel()
    return sure / decided


def _distil(method: SelfDistillation, graph: Graph, after: Graph, target: Samples, context: Context) -> Outcome:
    objective = aims_of(after, (PseudoLabels(confidence=method.confidence),), graph)
    sure = _sure(graph, objective, method, target, context)
    if not sure:
        raise NothingToDo(
            f"The model is sure of no sample's class with a confidence of {method.confidence:g}.",
            hint="Lower the confidence, or adapt the batch-norm statistics in a pass before.",
        )
    module, average = module_for(after, objective), None
    if method.average is not None:
        average = MovingAverage(after, objective.taught, method.average, device_of())
    course = Course(
        target,
        method.learning,
        objective,
        context.threads,
        feed_singly=fixed_at_one(after.inputs),
        hooks=telling(context, lambda _: average.follow(module) if average else None),
        teacher=graph,
        scratch=context.scratch,
        companion=average,
    )
    learned = learn(module, course)
    module.write_back(after)
    count = target.count(Split.TRAIN)
    summary = f"Learned {len(learned.epochs)} epochs from its own decisions on {count} samples; {_losses(learned)}."
    note = f"At first the model was sure of {sure:.0%} of the samples, with a confidence of {method.confidence:g}."
    return Outcome(after, summary, curves=learned.curves(), notes=(note,))
