"""What the scoreboard needs of a model: how to write it and real inputs for it, and where both come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from examples.packages import packaged

Arrays = Mapping[str, NDArray[Any]]

OPSET = 17


class NotHere(Exception):
    """Something that the model or its data is made of is not on this machine; says how to get it."""


@dataclass(frozen=True)
class Published:
    """`write` makes `model.onnx` and `data.npz` in a folder; the data has the splits calibration and test at least."""

    task: str
    inputs: str
    packages: tuple[str, ...]
    write: Callable[[Path], None]


def weights(package: str, ending: str) -> dict[str, Tensor]:
    """The tensors of a package's PyTorch file; nothing else in it is unpickled."""
    found: dict[str, Tensor] = torch.load(packaged(package, ending), map_location="cpu", weights_only=True)
    return found


def save(folder: Path, **splits: Arrays) -> None:
    """Write `data.npz`: arrays by split and input name, and `labels` where they are certain."""
    arrays = {f"{split}/{name}": array for split, named in splits.items() for name, array in named.items()}
    np.savez(folder / "data.npz", **arrays)
