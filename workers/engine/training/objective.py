"""What a graph is trained towards: which of its tensors are compared with what, and how."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from torch import Tensor

from whetstone.contract.failures import FailureCode
from whetstone.contract.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Hint,
    Huber,
    LabelLoss,
    LabelTerm,
    LossTerm,
    MeanAbsoluteError,
    MeanSquaredError,
    OutputError,
    SoftLabels,
    TeacherTerm,
)
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.training.losses import (
    Targets,
    TeacherMismatch,
    as_labels,
    classes_second,
    label_loss,
    shaped_like,
    teacher_loss,
)

__all__ = ["Aim", "Objective", "Targets", "aims_of", "as_labels", "decisive_output", "logits_of", "objective_of"]

SEEN_THROUGH = frozenset({"Identity", "QuantizeLinear", "DequantizeLinear"})
FLOATS = ("float32", "float16", "float64", "bfloat16")
HALF = 0.5
ON_OUTPUTS = (MeanSquaredError, MeanAbsoluteError, Huber)
"""Losses that look at the output itself; the others look at the logits where the output is their softmax."""

TERMS: dict[LabelLoss, type[LabelTerm]] = {
    LabelLoss.CROSS_ENTROPY: CrossEntropy,
    LabelLoss.BCE: BinaryCrossEntropy,
    LabelLoss.MSE: MeanSquaredError,
    LabelLoss.L1: MeanAbsoluteError,
    LabelLoss.HUBER: Huber,
}


class NoOutputToTrain(EngineError):
    """None of the model's outputs is a floating point number, so there is nothing to compare with labels."""

    code = FailureCode.NOTHING_TO_DO


class UnknownTensor(EngineError):
    """A hint names a tensor that the graph does not have."""

    code = FailureCode.UNKNOWN_LAYER
    hint = "Tensors have the names that the nodes' inputs and outputs have in the ONNX file."


def decisive_output(graph: Graph) -> str:
    """The output that labels speak of: the first of floating point. Raises NoOutputToTrain."""
    name = next((facts.name for facts in graph.outputs if facts.dtype in FLOATS), None)
    if name is None:
        raise NoOutputToTrain
    return name


def logits_of(graph: Graph, output: str, ops: Iterable[str] = ("Softmax", "Sigmoid")) -> str:
    """What is made a probability by one of `ops` in the end; the output itself where there is none.

    Cross-entropy takes logits. Log-probabilities serve as well: their log-sum-exp is 0.
    """
    name = output
    while (node := graph.producer(name)) is not None and node.op_type in SEEN_THROUGH:
        name = node.input[0]
    return node.input[0] if node is not None and node.op_type in ops else output


@dataclass(frozen=True)
class Aim:
    """A term of the loss with the tensor of the student that it is about, and the teacher's where it has one."""

    term: LossTerm
    student: str
    teacher: str | None = None


@dataclass(frozen=True)
class Objective:
    """`output` is the tensor of the graph that tells right from wrong; `tensors` are all that the aims want, and `also`
    those that something beside the aims does.
    """

    output: str
    aims: tuple[Aim, ...] = field(default=())
    also: tuple[str, ...] = ()

    @property
    def tensors(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.output, *(aim.student for aim in self.aims), *self.also)))

    @property
    def taught(self) -> tuple[str, ...]:
        """The tensors that a teacher must give."""
        return tuple(dict.fromkeys(aim.teacher for aim in self.aims if aim.teacher is not None))

    def loss(self, made: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch against labels alone. Raises DatasetMismatch when they do not go together."""
        return self.total({aim.student: made for aim in self.aims}, {}, Targets(labels))

    def total(self, made: Mapping[str, Tensor], taught: Mapping[str, Tensor], targets: Targets | None) -> Tensor:
        """The weighted sum of all terms. Raises DatasetMismatch or TeacherMismatch, naming shapes."""
        return sum((self._part(aim, made, taught, targets) for aim in self.aims), start=made[self.output].new_zeros(()))

    @staticmethod
    def _part(aim: Aim, made: Mapping[str, Tensor], taught: Mapping[str, Tensor], targets: Targets | None) -> Tensor:
        own, term = made[aim.student].float(), aim.term
        if isinstance(term, TeacherTerm):
            theirs = taught[aim.teacher or ""]
            _check_shapes(aim, own, theirs)
            return term.weight * teacher_loss(term, own, theirs)
        if targets is None:
            raise TypeError(f"{term.kind} needs labels")
        return term.weight * label_loss(term, own, targets)

    def correct(self, made: Tensor, labels: Tensor) -> Tensor | None:
        """Which labels are hit by the largest output, or the sign of a single one; None without classes."""
        kinds = {type(aim.term) for aim in self.aims}
        if CrossEntropy in kinds:
            return classes_second(made, labels).argmax(1) == labels
        if BinaryCrossEntropy in kinds:
            return (made > 0) == (shaped_like(labels, made) > HALF)
        return None


def _check_shapes(aim: Aim, own: Tensor, theirs: Tensor) -> None:
    if own.shape != theirs.shape:
        raise TeacherMismatch(
            f"The student's '{aim.student}' has the shape {list(own.shape)}, "
            f"the teacher's '{aim.teacher}' {list(theirs.shape)}."
        )


def check_tensor(graph: Graph, name: str, whose: str) -> str:
    known = [output for node in graph.nodes for output in node.output if output]
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.0)
        raise UnknownTensor(f"No tensor of the {whose} is called '{name}'; the nearest name is '{near[0]}'.")
    return name


def _of_interest(graph: Graph, term: LossTerm) -> str:
    output = decisive_output(graph)
    match term:
        case CrossEntropy():
            return logits_of(graph, output, ("Softmax",))
        case BinaryCrossEntropy():
            return logits_of(graph, output, ("Sigmoid",))
        case _:
            return output if isinstance(term, ON_OUTPUTS) else logits_of(graph, output)


def _aim(graph: Graph, teacher: Graph | None, term: LossTerm) -> Aim:
    if isinstance(term, LabelTerm):
        return Aim(term, _of_interest(graph, term))
    if teacher is None:
        raise TeacherMismatch(f"'{term.kind}' needs a teacher.")
    if isinstance(term, Hint):
        own = check_tensor(graph, term.student, "student")
        return Aim(term, own, check_tensor(teacher, term.teacher, "teacher"))
    return Aim(term, _of_interest(graph, term), _of_interest(teacher, term))


def aims_of(graph: Graph, terms: Iterable[LossTerm], teacher: Graph | None = None) -> Objective:
    """Find the tensors that the terms are about. Raises NoOutputToTrain, UnknownTensor or TeacherMismatch."""
    aims = tuple(_aim(graph, teacher, term) for term in terms)
    own = next((aim for aim in aims if not isinstance(aim.term, Hint)), None)
    return Objective(own.student if own else decisive_output(graph), aims)


def objective_of(graph: Graph, loss: LabelLoss) -> Objective:
    """Train the decisive output against labels; for cross-entropy its logits, if it is a softmax."""
    return aims_of(graph, (TERMS[loss](),))


def without_labels(graph: Graph) -> LossTerm:
    """How to learn from a teacher where nothing else is told: its soft labels, if it plainly tells classes apart.

    Whether other outputs are logits or numbers cannot be seen; the squared error is right for both (Ba & Caruana
    2014).
    """
    output = decisive_output(graph)
    return SoftLabels() if logits_of(graph, output, ("Softmax",)) != output else OutputError()
