"""What flows through a graph."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

Batches = Callable[[], Iterable[Mapping[str, Array]]]
"""The calibration samples from the start, as often as it is called."""

Ranges = dict[str, tuple[float, float]]
"""Lowest and highest value by tensor name."""
