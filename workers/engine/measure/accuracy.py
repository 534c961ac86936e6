"""The task metric of original and result on the same labelled samples, fed batch by batch."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from whetstone.contract.metrics import Metric
from whetstone.contract.reports import Accuracy, ClassAccuracy, Confusion, Flips
from workers.engine.data.errors import DatasetMismatch
from workers.engine.measure.decision import TWO_CLASSES, Decision, class_decision, number_decision
from workers.engine.measure.ranking import paired_auc
from workers.engine.measure.reading import Reading
from workers.engine.measure.statistics import paired_difference, paired_rise, scaled
from workers.engine.targets.runtime import Array, Arrays

TINY = 1e-15
POINTS = 100
"""Percentage points in a proportion of one."""

LISTED = 20
"""Changes of decision, and samples, that are listed; all of them are counted."""


class LabelsFitNoOutput(DatasetMismatch):
    """No output of the model can be compared with the labels of the dataset."""

    hint = (
        "Integer labels need an output of shape [N, classes], or [N, 1] for two classes, float labels one of their own "
        "shape; or leave them out. `auc` and `log_loss` need labels 0 and 1 and an output of one number a sample."
    )


class OneClassOnly(DatasetMismatch):
    """All labels are the same, so no area under a curve can be told from them."""

    hint = "Put samples of both classes into the test and the calibration split, or choose the metric `log_loss`."


class ClassMeter:
    """Counts right decisions. Integer labels, shape [N]."""

    def __init__(self, decision: Decision) -> None:
        self._decision = decision
        self._labels: list[Array] = []
        self._original: list[NDArray[np.integer]] = []
        self._result: list[NDArray[np.integer]] = []

    def add(self, original: Arrays, result: Arrays, labels: Array) -> None:
        self._labels.append(labels)
        self._original.append(self._decision.of(original))
        self._result.append(self._decision.of(result))

    def accuracy(self) -> Accuracy:
        labels, before, after = map(np.concatenate, (self._labels, self._original, self._result))
        original, result = before == labels, after == labels
        only_original, only_result = int((original & ~result).sum()), int((result & ~original).sum())
        return Accuracy(
            metric=Metric.ACCURACY,
            samples=len(labels),
            original=float(original.mean()),
            result=float(result.mean()),
            drop=scaled(paired_difference(only_original, only_result, len(labels)), POINTS),
            per_class=tuple(_one_class(int(label), labels == label, original, result) for label in np.unique(labels)),
            flips=flips(labels, before, after),
        )


def flips(labels: Array, before: Array, after: Array) -> Flips:
    """What became of the decisions: labels and both sides' classes, shape [N] each."""
    was_right, is_right = before == labels, after == labels
    lost = was_right & ~is_right
    changed = np.flatnonzero(before != after)
    kinds = Counter(zip(*(array[changed].tolist() for array in (labels, before, after)), strict=True))
    return Flips(
        lost=int(lost.sum()),
        won=int((is_right & ~was_right).sum()),
        moved=int((~was_right & ~is_right & (before != after)).sum()),
        confusions=tuple(
            Confusion(label=label, original=one, result=other, samples=samples)
            for (label, one, other), samples in sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))[:LISTED]
        ),
        examples=tuple(np.flatnonzero(lost)[:LISTED].tolist()),
    )


class ErrorMeter:
    """Averages squared errors. Float labels, shape [N] or [N, ...]."""

    def __init__(self, output: str) -> None:
        self._output = output
        self._original: list[NDArray[np.float64]] = []
        self._result: list[NDArray[np.float64]] = []

    def add(self, original: Arrays, result: Arrays, labels: Array) -> None:
        self._original.append(_squared_errors(original[self._output], labels))
        self._result.append(_squared_errors(result[self._output], labels))

    def accuracy(self) -> Accuracy:
        original, result = np.concatenate(self._original), np.concatenate(self._result)
        return Accuracy(
            metric=Metric.MSE,
            samples=len(original),
            original=float(original.mean()),
            result=float(result.mean()),
            drop=paired_rise(original, result),
        )


class BinaryMeter:
    """Area under the ROC curve, or log-loss, of one number for each sample: a logit, or a probability where the
    decision's threshold is that of one. Integer labels 0 and 1, shape [N].
    """

    def __init__(self, decision: Decision, metric: Metric) -> None:
        self._decision, self._metric = decision, metric
        self._labels: list[Array] = []
        self._original: list[NDArray[np.float64]] = []
        self._result: list[NDArray[np.float64]] = []

    def add(self, original: Arrays, result: Arrays, labels: Array) -> None:
        self._labels.append(labels)
        for outputs, found in ((original, self._original), (result, self._result)):
            found.append(outputs[self._decision.output].reshape(len(labels)).astype(np.float64))

    def accuracy(self) -> Accuracy:
        """Raises OneClassOnly, for the area."""
        labels, original, result = map(np.concatenate, (self._labels, self._original, self._result))
        if self._metric is Metric.AUC:
            if labels.min() == labels.max():
                raise OneClassOnly(f"All {len(labels)} labels are {labels[0]}.")
            before, after, drop = paired_auc(original, result, labels == 1)
            drop = scaled(drop, POINTS)
        else:
            first, second = (self._log_losses(scores, labels) for scores in (original, result))
            before, after, drop = float(first.mean()), float(second.mean()), paired_rise(first, second)
        return Accuracy(metric=self._metric, samples=len(labels), original=before, result=after, drop=drop)

    def _log_losses(self, scores: NDArray[np.float64], labels: Array) -> NDArray[np.float64]:
        """The negative log-likelihood of each label; a probability of 0 or 1 counts as one that is TINY away."""
        if self._decision.is_probability:
            likely = np.where(labels == 1, scores, 1 - scores)
            return np.asarray(-np.log(np.clip(likely, TINY, 1)))
        return np.asarray(np.logaddexp(0, np.where(labels == 1, -scores, scores)))


Meter = ClassMeter | ErrorMeter | BinaryMeter


def meter_for(outputs: Arrays, labels: Array, largest_label: float, reading: Reading) -> Meter:
    """Find what to compare, from the outputs and labels of one batch; without a metric integer labels are classes.

    Raises: LabelsFitNoOutput.
    """
    metric, thresholds = reading.metric, reading.thresholds
    classes = np.issubdtype(labels.dtype, np.integer)
    wanted = max(2, int(largest_label) + 1)
    if metric is not None and metric.is_binary:
        if classes and wanted == TWO_CLASSES and (decision := number_decision(outputs, len(labels), thresholds)):
            return BinaryMeter(decision, metric)
    elif classes and metric is not Metric.MSE:
        if decision := class_decision(outputs, len(labels), wanted, thresholds):
            return ClassMeter(decision)
    elif not classes and metric is not Metric.ACCURACY and (alike := _output_like(labels, outputs)):
        return ErrorMeter(alike)
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
    upto = f" up to {largest_label:g}" if classes else ""
    raise LabelsFitNoOutput(
        f"Labels of type {labels.dtype}{upto} and shape {list(labels.shape)} fit no output of the model: {shapes}."
    )


def _output_like(labels: Array, outputs: Arrays) -> str | None:
    """The first output with the labels' shape, but for axes of one."""
    alike = (name for name, array in outputs.items() if array.ndim and len(array) == len(labels))
    return next((name for name in alike if outputs[name].size == labels.size), None)


def _one_class(label: int, of_it: Array, original: Array, result: Array) -> ClassAccuracy:
    return ClassAccuracy(
        label=label,
        samples=int(of_it.sum()),
        original=float(original[of_it].mean()),
        result=float(result[of_it].mean()),
    )


def _squared_errors(output: Array, labels: Array) -> NDArray[np.float64]:
    """The mean squared error of each sample, shape [N]."""
    error = output.reshape(len(labels), -1).astype(np.float64) - labels.reshape(len(labels), -1)
    return np.asarray((error**2).mean(axis=1))
