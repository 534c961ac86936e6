"""A teacher that is the moving average of its student (Tarvainen & Valpola 2017)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from workers.engine.graph.graph import Graph
from workers.engine.graph.trainable import Trainable


class MovingAverage:
    """Starts as the graph; after each step of the student it keeps `share` of its weights and running statistics."""

    def __init__(self, graph: Graph, tensors: tuple[str, ...], share: float, device: torch.device) -> None:
        self._module = Trainable(graph, tensors).to(device).eval().requires_grad_(requires_grad=False)
        self._share = share

    @torch.no_grad()
    def __call__(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        made: Mapping[str, Tensor] = self._module(inputs)
        return made

    @torch.no_grad()
    def follow(self, student: Trainable) -> None:
        """Move towards a student made from the same graph, with the same tensors."""
        theirs = student.state_dict()
        for name, own in self._module.state_dict().items():
            own.lerp_(theirs[name], 1 - self._share)
