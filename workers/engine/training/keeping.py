"""Keeping how far learning has got, so that it goes on from there bit for bit: safetensors with a JSON header."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from whetstone.contract.learning import Learning
from workers.engine.graph.trainable import Trainable
from workers.engine.training.progress import Epoch

Write = Callable[[Path], None]
HEADER = "whetstone"
VERSION = 2


@dataclass(frozen=True)
class Keeper:
    """Where a pass keeps its state: `saved` is what an earlier attempt left, `save` takes a new one.

    `save` gets the number of steps done and writes the file where it wants it. `name` tells this pass from others.
    """

    name: str
    every: int
    save: Callable[[int, Write], None]
    saved: Path | None = None


@dataclass
class Standing:
    """How far a run has got: the numbers. The weights beside them are in the module and in the optimizer.

    Random numbers and the learning rate are functions of the seed and of `steps`, so they have no state.
    """

    steps: int = 0
    steps_in_epoch: int = 0
    loss_in_epoch: float = 0.0
    epochs: list[Epoch] = field(default_factory=list)
    best_loss: float = float("inf")
    best_epoch: int = 0


Weights = dict[str, Tensor]


def fingerprint(keeper: Keeper, module: Trainable, learning: Learning) -> str:
    """Tells whether a state belongs to this pass, these settings and these weights to start from."""
    digest = hashlib.sha256(f"{VERSION} {keeper.name} {learning.model_dump_json()}".encode())
    for name, value in module.state_dict().items():
        digest.update(f"{name}{list(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _of_optimizer(optimizer: torch.optim.Optimizer) -> Weights:
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer/{index}/{key}": value
        for index, values in state.items()
        for key, value in values.items()
        if isinstance(value, Tensor)
    }


@dataclass
class State:
    """Everything that the next step depends on, beside the numbers: `best` are the best weights so far, `others` what
    the hooks remember.
    """

    module: Trainable
    optimizer: torch.optim.Optimizer
    best: Weights = field(default_factory=dict)
    others: Weights = field(default_factory=dict)


def save(path: Path, mark: str, standing: Standing, state: State) -> None:
    """Write a state; `mark` tells what it belongs to."""
    tensors = {f"module/{name}": value for name, value in state.module.state_dict().items()}
    for kind, found in (("best", state.best), ("others", state.others)):
        tensors |= {f"{kind}/{name}": value for name, value in found.items()}
    tensors |= _of_optimizer(state.optimizer)
    header = {HEADER: json.dumps({"fingerprint": mark, "standing": asdict(standing)})}
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path, header)


def _standing(told: dict[str, object]) -> Standing:
    standing = Standing(**told)  # type: ignore[arg-type] # as `save` wrote it
    standing.epochs = [Epoch(**epoch) for epoch in standing.epochs]  # type: ignore[arg-type]
    return standing


def _put_into_optimizer(optimizer: torch.optim.Optimizer, tensors: Weights) -> None:
    state: dict[int, Weights] = {}
    for name, value in tensors.items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def load(path: Path, mark: str, state: State) -> Standing | None:
    """Read a state into `state`. None, with nothing changed, if it belongs to something else."""
    with safe_open(path, "pt") as file:
        header = json.loads((file.metadata() or {}).get(HEADER, "{}"))
        if header.get("fingerprint") != mark:
            return None
        sorted_in: dict[str, Weights] = {"module": {}, "best": {}, "others": {}, "optimizer": {}}
        for key in file.keys():  # noqa: SIM118 - it is no dictionary
            kind, _, name = key.partition("/")
            sorted_in[kind][name] = file.get_tensor(key)
    state.module.load_state_dict(sorted_in["module"])
    _put_into_optimizer(state.optimizer, sorted_in["optimizer"])
    state.best, state.others = sorted_in["best"], sorted_in["others"]
    return _standing(header["standing"])
