"""What holds for a whole run of a graph."""

from dataclasses import dataclass, replace

import torch


@dataclass
class Setting:
    """`literal`: a node's own training flag counts, as the standard has it, whatever `training` says.

    Ops in `still` behave in training as in inference.
    """

    training: bool = False
    literal: bool = False
    device: torch.device | None = None
    still: frozenset[str] = frozenset()

    def of(self, op: str) -> "Setting":
        """What holds for one op."""
        return replace(self, training=False) if self.training and op in self.still else self
