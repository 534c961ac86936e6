"""Whom `finetune` trains: the graph at hand, another model, or a narrower copy of the teacher."""

from dataclasses import dataclass

from whetstone.contract.failures import FailureCode
from whetstone.contract.learning import Finetune
from whetstone.contract.pruning import Criterion, Granularity, Prune, Scope
from whetstone.contract.reports import LayerChange
from whetstone.contract.steps import InputRole
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.passes.checks import same_interface
from workers.engine.passes.errors import BrokenResult, NothingToDo
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.prune import PrunePass


class StudentMismatch(EngineError):
    """The student does not have the inputs and outputs of the job's model."""

    code = FailureCode.MODEL_MISMATCH
    hint = "Export the student with the same names, types and axes as the original."


@dataclass(frozen=True)
class Student:
    """A graph that may be changed, and what was done to make it."""

    graph: Graph
    layers: tuple[LayerChange, ...] = ()
    notes: tuple[str, ...] = ()


def teacher_of(config: Finetune, context: Context) -> Graph:
    """The model that is named, or the job's original."""
    return context.model(InputRole.TEACHER if config.teacher else InputRole.MODEL)


def _narrowed(teacher: Graph, width: float, data: Samples | None, context: Context) -> Student:
    """The teacher with this share of the channels, hidden units and heads of each layer, those of the largest norm.

    Raises NothingToDo, with reasons by layer, where neither can be cut.
    """
    student, refused = Student(teacher), list[NothingToDo]()
    for granularity in (Granularity.CHANNEL, Granularity.HEAD):
        config = Prune(granularity=granularity, sparsity=1 - width, criterion=Criterion.L2, scope=Scope.LAYER)
        try:
            made = PrunePass(config).apply(student.graph, data, context)
        except NothingToDo as error:
            refused.append(error)
            continue
        note = f"The student is a copy of the teacher. {made.summary}"
        student = Student(made.graph, student.layers + made.layers, (*student.notes, note))
    if not student.notes:
        raise refused[0]
    return student


def find_student(config: Finetune, graph: Graph, data: Samples | None, context: Context) -> Student:
    """Raises StudentMismatch unless it can take the place of `graph`."""
    if config.student is None and config.width is None:
        return Student(graph.copy())
    student = (
        Student(context.model(InputRole.STUDENT))
        if config.width is None
        else _narrowed(teacher_of(config, context), config.width, data, context)
    )
    try:
        same_interface(graph, student.graph)
    except BrokenResult as error:
        raise StudentMismatch from error
    return student
