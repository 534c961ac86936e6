"""Which output of a model is its decision: the one whose largest entry names a class."""

import numpy as np

from workers.engine.targets.runtime import Array, Arrays

DECISION_RANK = 2


def decision_output(outputs: Arrays, samples: int, classes: int = 2) -> str | None:
    """The first float output of shape [samples, at least `classes`]; None where there is none."""
    return next((name for name, array in outputs.items() if _decides(array, samples, classes)), None)


def _decides(array: Array, samples: int, classes: int) -> bool:
    return (
        np.issubdtype(array.dtype, np.floating)
        and array.ndim == DECISION_RANK
        and array.shape[0] == samples
        and array.shape[1] >= classes
    )
