"""What a model decides: the class with the largest entry, or, of one number for each sample, which side it is on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.engine.graph.graph import Graph
from workers.engine.targets.runtime import Array, Arrays

DECISION_RANK = 2
TWO_CLASSES = 2
PASS_ON = {"Identity", "Cast", "Flatten", "Reshape", "Squeeze", "Unsqueeze"}
PROBABILITIES = {"Sigmoid", "HardSigmoid"}
MIDDLE = 0.5


@dataclass(frozen=True)
class Decision:
    """An output and how to read it: its largest entry, or above which `threshold` its one number means class 1."""

    output: str
    threshold: float | None = None

    @property
    def is_probability(self) -> bool:
        """Whether its one number is one; else it is a logit."""
        return self.threshold == MIDDLE

    def of(self, outputs: Arrays) -> NDArray[np.integer]:
        """The class decided for each sample, shape [N]."""
        array = outputs[self.output]
        if self.threshold is None:
            return np.asarray(array.argmax(axis=1))
        return (array.reshape(len(array)) > self.threshold).astype(np.int64)


def thresholds_of(graph: Graph) -> dict[str, float]:
    """Where each output turns from class 0 to class 1 if it decides by one number: 0.5 for probabilities, 0 for logits.

    The graph tells which: a probability comes out of a sigmoid.
    """
    return {output.name: MIDDLE if _is_probability(graph, output.name) else 0.0 for output in graph.outputs}


def _is_probability(graph: Graph, tensor: str) -> bool:
    node = graph.producer(tensor)
    while node is not None and node.op_type in PASS_ON:
        node = graph.producer(node.input[0])
    return node is not None and node.op_type in PROBABILITIES


def class_decision(outputs: Arrays, samples: int, classes: int, thresholds: Mapping[str, float]) -> Decision | None:
    """The first float output that can name one of `classes` classes; None where there is none."""
    if wide := decision_output(outputs, samples, classes):
        return Decision(wide)
    return None if classes > TWO_CLASSES else number_decision(outputs, samples, thresholds)


def number_decision(outputs: Arrays, samples: int, thresholds: Mapping[str, float]) -> Decision | None:
    """The first float output of one number for each sample; None where there is none."""
    one_each = (name for name, array in outputs.items() if _one_number(array, samples))
    return next((Decision(name, thresholds[name]) for name in one_each if name in thresholds), None)


def decision_output(outputs: Arrays, samples: int, classes: int = TWO_CLASSES) -> str | None:
    """The first float output of shape [samples, at least `classes`]; None where there is none."""
    return next((name for name, array in outputs.items() if _decides(array, samples, classes)), None)


def sequence_output(outputs: Arrays, samples: int) -> str | None:
    """The first float output of shape [samples, T, ..., classes]; None where there is none."""
    return next((name for name, array in outputs.items() if _decides_along(array, samples)), None)


def _decides_along(array: Array, samples: int) -> bool:
    wide = array.ndim > DECISION_RANK and array.shape[0] == samples and array.shape[-1] >= TWO_CLASSES
    return wide and np.issubdtype(array.dtype, np.floating)


def _decides(array: Array, samples: int, classes: int) -> bool:
    return (
        np.issubdtype(array.dtype, np.floating)
        and array.ndim == DECISION_RANK
        and array.shape[0] == samples
        and array.shape[1] >= classes
    )


def _one_number(array: Array, samples: int) -> bool:
    return np.issubdtype(array.dtype, np.floating) and array.size == samples and array.shape[:1] == (samples,)
