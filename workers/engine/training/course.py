"""What a run of learning is told."""

from dataclasses import dataclass, field
from pathlib import Path

from whetstone.contract.learning import Learning
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph
from workers.engine.training.alignment import Alignment
from workers.engine.training.keeping import Keeper
from workers.engine.training.objective import Objective
from workers.engine.training.progress import Hooks
from workers.engine.training.teacher import Teacher


@dataclass(frozen=True)
class Course:
    """What is to be learned, from what, and on how many threads.

    `feed_singly` is for graphs whose batch axis is fixed at 1: gradients are then summed over a batch's samples.
    The loop runs on, beyond `learning.epochs`, until `min_steps` are done; early stopping looks only after them.
    `teacher` gives what the objective compares with. For more than one of `processes`, `graph` is what the module
    was made from, and `scratch` a folder for files. `companion` is a teacher that is open already, `alignment` a
    loss that is added to the objective; both are for a single process.
    """

    samples: Samples
    learning: Learning
    objective: Objective
    threads: int
    validation_fraction: float = 0.1
    min_steps: int = 0
    feed_singly: bool = False
    hooks: Hooks = field(default_factory=Hooks)
    teacher: Graph | None = None
    graph: Graph | None = None
    scratch: Path | None = None
    processes: int = 1
    keeper: Keeper | None = None
    companion: Teacher | None = None
    alignment: Alignment | None = None
