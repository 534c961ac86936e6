"""Train the weights: against labels, against a teacher, or both; on real inputs or, without any, on made-up ones."""

from whetstone.contract.datasets import Split
from whetstone.contract.learning import Finetune
from whetstone.contract.losses import LabelTerm, LossTerm, TeacherTerm
from workers.engine.data.fit import fixed_at_one
from workers.engine.data.samples import Samples
from workers.engine.graph.edit import separate_statistics
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import parameters_of
from workers.engine.graph.trainable import Trainable
from workers.engine.passes.checks import same_interface
from workers.engine.passes.errors import BrokenResult, NeedsDataset
from workers.engine.passes.graph_pass import Context, GraphPass, Outcome
from workers.engine.passes.learning import Masks, labelled, module_for, telling, trainable
from workers.engine.passes.student import find_student, teacher_of
from workers.engine.training.course import Course
from workers.engine.training.labels import fitting_loss
from workers.engine.training.loop import Learned, learn
from workers.engine.training.made_inputs import Made, check_can_be_made, make_inputs
from workers.engine.training.objective import TERMS, aims_of, without_labels
from workers.engine.training.teacher import check_inputs
from workers.engine.training.trouble import LearningStopped

MATRIX_RANK = 2


def _summary(learned: Learned, samples: int) -> str:
    first, best = learned.epochs[0], learned.epochs[learned.best - 1]
    told = f"Trained {len(learned.epochs)} epochs on {samples} samples; kept the weights of epoch {learned.best}"
    if best.validation_accuracy is None or first.validation_accuracy is None:
        return f"{told}, validation loss {best.validation_loss:.4g}."
    return f"{told}, validation accuracy {best.validation_accuracy:.2%}."


class FinetunePass(GraphPass[Finetune]):
    """After pruning this is recovery, on a quantized graph quantization-aware training, with a student distillation."""

    @property
    def _keeps_the_graph(self) -> bool:
        return self.config.student is None and self.config.width is None

    def requires(self, graph: Graph, data: Samples | None) -> None:
        if self.config.loss is not None or any(isinstance(term, LabelTerm) for term in self.config.losses):
            labelled(data)
        if data is None:
            check_can_be_made(graph)
        elif not data.has(Split.TRAIN):
            raise NeedsDataset("The dataset has no train split to learn from.", hint="Name its arrays 'train/…'.")
        if self._keeps_the_graph:
            trainable(graph, self.config.loss, learn_scales=self.config.learn_scales)

    def _terms(self, graph: Graph, samples: Samples) -> tuple[LossTerm, ...]:
        """What is asked for, or what the data allows."""
        if self.config.losses:
            return self.config.losses
        if self.config.loss is None and not samples.has_labels(Split.TRAIN):
            return (without_labels(graph),)
        return (TERMS[self.config.loss or fitting_loss(graph, samples)](),)

    def _samples(self, data: Samples | None, context: Context) -> Made:
        if data is not None:
            return Made(data, ())
        config, teacher = self.config, teacher_of(self.config, context)
        return make_inputs(
            teacher,
            config.made_inputs,
            config.seed,
            context.scratch,
            lambda share: context.tell(0.0, f"making up inputs, {share:.0%}", {}),
        )

    def _holds(self, graph: Graph, weight: str) -> bool:
        """Whether what is zero in a weight stays so. Among integers zero may be the nearest number, no decision."""
        hold, in_bodies = self.config.hold_sparsity, weight not in graph.constants
        return hold if hold is not None else in_bodies or "int" not in graph.dtype(weight)

    def _masks(self, graph: Graph, module: Trainable) -> Masks:
        """Zeros of matrices and kernels are held; a bias that happens to be zero may move."""
        matrices = {name: weight.data for name, weight in module.weights.items() if weight.dim() >= MATRIX_RANK}
        return Masks({name: weight for name, weight in matrices.items() if self._holds(graph, name)})

    def ensures(self, before: Graph, after: Graph) -> None:
        same_interface(before, after)
        if not self._keeps_the_graph:
            return
        for weight in (each for each in parameters_of(before) if self._holds(before, each.name)):
            was_zero = before.weight(weight.name) == weight.zero_point
            if was_zero.ndim >= MATRIX_RANK and (after.weight(weight.name) != weight.zero_point)[was_zero].any():
                raise BrokenResult(f"Numbers of '{weight.name}' that were zero are so no longer.")

    def _course(self, after: Graph, samples: Samples, context: Context) -> tuple[Trainable, Course]:
        terms = self._terms(after, samples)
        teacher = teacher_of(self.config, context) if any(isinstance(term, TeacherTerm) for term in terms) else None
        if teacher is not None:
            check_inputs(teacher, after)
        objective = aims_of(after, terms, teacher)
        module = module_for(after, objective, learn_scales=self.config.learn_scales)
        masks = self._masks(after, module)
        return module, Course(
            samples,
            self.config,
            objective,
            context.threads,
            self.config.validation_fraction,
            feed_singly=any(fixed_at_one(graph.inputs) for graph in (after, teacher) if graph is not None),
            hooks=telling(context, lambda _: masks.hold(), masks.remember, masks.recall),
            teacher=teacher,
            graph=after,
            scratch=context.scratch,
            processes=self.config.processes,
            keeper=context.keeper_for(self.config),
        )

    def run(self, graph: Graph, data: Samples | None, context: Context) -> Outcome:
        student, made = find_student(self.config, graph, data, context), self._samples(data, context)
        after = student.graph
        separate_statistics(after)
        module, course = self._course(after, made.samples, context)
        try:
            learned = learn(module, course)
        except LearningStopped as stopped:
            if stopped.has_best:
                module.write_back(after)
                stopped.best = after
            raise
        module.write_back(after)
        summary = _summary(learned, made.samples.count(Split.TRAIN))
        notes = (*student.notes, *self._notes(course, learned), *self._freed(graph, after), *made.notes)
        return Outcome(after, summary, student.layers, learned.curves(), notes)

    def _freed(self, before: Graph, after: Graph) -> tuple[str, ...]:
        """That integers which were zero are so no longer, if that was not asked for: pruning may have made them."""
        if not self._keeps_the_graph or self.config.hold_sparsity is not None:
            return ()
        free = [each for each in parameters_of(before) if not self._holds(before, each.name)]
        free = [each for each in free if len(before.constants[each.name].dims) >= MATRIX_RANK]
        old, new = (sum(int((g.weight(each.name) == each.zero_point).sum()) for each in free) for g in (before, after))
        if new >= old:
            return ()
        return (f"Of the integer weights {old:,} were zero, now {new:,} are; hold_sparsity true would have kept them.",)

    def _notes(self, course: Course, learned: Learned) -> tuple[str, ...]:
        notes = []
        if course.teacher is not None:
            whose = f"the model {self.config.teacher}" if self.config.teacher else "the original model"
            notes.append(f"The teacher was {whose}.")
        if learned.resumed_at:
            notes.append(f"Went on from step {learned.resumed_at} of an earlier attempt.")
        return tuple(notes)
