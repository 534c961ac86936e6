"""What a reader makes of a file: arrays on disk, a row for each sample."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whetstone.contract.datasets import Split
from workers.engine.data.archive import Array

ORDER = tuple(Split)


@dataclass(frozen=True)
class Unpacked:
    """`splits` says for each row its place in `ORDER`; None where the file does not tell. `classes` are the names of
    the class ids, where labels were names; `texts` what the first rows say, where their arrays do not show it.
    """

    format: str
    arrays: dict[str, Array]
    splits: NDArray[np.uint8] | None = None
    classes: tuple[str, ...] = ()
    texts: tuple[dict[str, str], ...] = ()
