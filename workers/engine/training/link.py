"""Messages between the processes of one training run: a command and tensors, as safetensors, never pickled.

Through gloo on the CPU, which wants a loopback interface but no network; the processes meet through a file.
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import IntEnum
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

PATIENCE = timedelta(minutes=30)
MEETING = "meeting"


class Command(IntEnum):
    """What a replica is to do next."""

    BEGIN = 0
    ADD = 1
    FINISH = 2
    END = 3


def meet(folder: Path, rank: int, processes: int) -> None:
    """Join the others; all must use the same folder. Gradients between CUDA devices travel by NCCL."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store = dist.FileStore(str(folder / MEETING), processes)
    dist.init_process_group(backend, store=store, rank=rank, world_size=processes, timeout=PATIENCE)


def part() -> None:
    dist.destroy_process_group()


def tell(rank: int, command: Command, number: float = 0.0, tensors: Mapping[str, Tensor] | None = None) -> None:
    """Send one process a command with a number and tensors."""
    body = to_bytes({name: value.contiguous() for name, value in tensors.items()}) if tensors else b""
    dist.send(torch.tensor([float(command), number, float(len(body))], dtype=torch.float64), rank)
    if body:
        dist.send(torch.frombuffer(bytearray(body), dtype=torch.uint8), rank)


def hear() -> tuple[Command, float, dict[str, Tensor]]:
    """Wait for the next command of the first process."""
    head = torch.empty(3, dtype=torch.float64)
    dist.recv(head, 0)
    command, number, size = head.tolist()
    if not size:
        return Command(int(command)), number, {}
    body = torch.empty(int(size), dtype=torch.uint8)
    dist.recv(body, 0)
    return Command(int(command)), number, from_bytes(body.numpy().tobytes())


def share_state(module: nn.Module) -> None:
    """Give all processes the weights and statistics of the first."""
    for value in module.state_dict().values():
        dist.broadcast(value, 0)


def add_up(module: nn.Module, loss: float) -> float:
    """Add the gradients of all processes, in the first one's parameters. Returns the sum of losses there."""
    for weight in module.parameters():
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        dist.reduce(weight.grad, 0)
    total = torch.tensor([loss], dtype=torch.float64)
    dist.reduce(total, 0)
    return float(total)
