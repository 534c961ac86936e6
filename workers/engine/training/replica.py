"""A further process of a training run: computes gradients of its share of every batch, as it is told.

Started by `replicas` as `python -m workers.engine.training.replica FOLDER RANK`. It holds no data, makes no step and
writes no file but the sign that it is ready.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from pydantic import TypeAdapter
from torch import Tensor

from whetstone.contract.learning import Learning
from workers.engine.graph.graph import Graph
from workers.engine.graph.trainable import Trainable
from workers.engine.training import link
from workers.engine.training.gradients import Alone, Inputs, NotFinite, Pupil, device_of, set_modes
from workers.engine.training.link import Command
from workers.engine.training.losses import Targets
from workers.engine.training.objective import Objective
from workers.engine.training.schedule import seed_step
from workers.engine.training.teacher import open_teacher

BRIEF, STUDENT, TEACHER = "brief.json", "student.onnx", "teacher.onnx"
LABELS, OTHERS, INPUT = "labels", "others", "input/"


@dataclass(frozen=True)
class Brief:
    """All that a replica is told at the start, beside the graphs."""

    learning: Learning
    objective: Objective
    feed_singly: bool
    threads: int
    processes: int
    learn_scales: bool = False


BRIEFS = TypeAdapter(Brief)


def packed(inputs: Inputs, targets: Targets | None) -> dict[str, Tensor]:
    """A share of a batch as tensors of a message."""
    tensors = {f"{INPUT}{name}": value for name, value in inputs.items()}
    if targets is not None:
        tensors[LABELS] = targets.labels
        if targets.others is not None:
            tensors[OTHERS] = targets.others
            tensors["share"] = torch.tensor([targets.share], dtype=torch.float64)
    return tensors


def unpacked(tensors: dict[str, Tensor]) -> tuple[Inputs, Targets | None]:
    inputs = {name.removeprefix(INPUT): value for name, value in tensors.items() if name.startswith(INPUT)}
    if LABELS not in tensors:
        return inputs, None
    share = float(tensors["share"]) if OTHERS in tensors else 1.0
    return inputs, Targets(tensors[LABELS], tensors.get(OTHERS), share)


def _pupil(folder: Path, brief: Brief, rank: int) -> Pupil:
    device = device_of(rank)
    graph, tensors = Graph(onnx.load(folder / STUDENT)), brief.objective.tensors
    module = Trainable(graph, tensors, learn_scales=brief.learn_scales).to(device).train()
    set_modes(module, brief.learning)
    teacher = None
    if (folder / TEACHER).exists():
        graph = Graph(onnx.load(folder / TEACHER))
        taught, threads = brief.objective.taught, brief.threads
        teacher = open_teacher(graph, taught, device=device, folder=folder, threads=threads)
    return Pupil(module, brief.objective, brief.learning, device, teacher, brief.feed_singly)


def _add(gradients: Alone, tensors: dict[str, Tensor], share: float) -> float:
    """Returns NaN where the loss is not finite: the first process finds out where."""
    try:
        gradients.add(*unpacked(tensors), share)
    except NotFinite:
        return math.nan
    return 0.0


def _serve(gradients: Alone, brief: Brief, rank: int) -> None:
    lost = 0.0
    while True:
        command, number, tensors = link.hear()
        match command:
            case Command.BEGIN:
                lost = 0.0
                link.share_state(gradients.pupil.module)
                seed_step(brief.learning.seed, int(number), rank)
                gradients.begin(int(number))
            case Command.ADD:
                lost += _add(gradients, tensors, number)
            case Command.FINISH:
                link.add_up(gradients.pupil.module, gradients.finish() + lost)
            case Command.END:
                return


def main(folder: Path, rank: int) -> None:
    brief = BRIEFS.validate_json((folder / BRIEF).read_bytes())
    torch.set_num_threads(brief.threads)
    gradients = Alone(_pupil(folder, brief, rank))
    (folder / f"ready-{rank}").touch()
    link.meet(folder, rank, brief.processes)
    try:
        _serve(gradients, brief, rank)
    finally:
        link.part()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
