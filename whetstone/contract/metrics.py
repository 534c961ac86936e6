"""By what a result is judged."""

from enum import StrEnum


class Metric(StrEnum):
    """What is compared between original and result, on the same samples.

    The first four need labels. `accuracy` is the share of samples whose largest output is the label (or whose one
    output is on its side), `mse` the mean squared error; `auc`, the area under the ROC curve, and `log_loss`, the mean
    negative log-likelihood, are for labels 0 and 1 and an output of one number for each sample, as of click models.
    The others compare with the original: `agreement` counts equal decisions of samples, `positions` those of every
    position along a sequence [N, T, classes], and `cosine` is the angle between outputs: for embeddings.
    """

    ACCURACY = "accuracy"
    MSE = "mse"
    AUC = "auc"
    LOG_LOSS = "log_loss"
    AGREEMENT = "agreement"
    POSITIONS = "positions"
    COSINE = "cosine"

    @property
    def needs_labels(self) -> bool:
        return self in {Metric.ACCURACY, Metric.MSE} or self.is_binary

    @property
    def is_binary(self) -> bool:
        """Whether it is for yes or no, told by one number."""
        return self in {Metric.AUC, Metric.LOG_LOSS}

    @property
    def in_points(self) -> bool:
        """Whether a drop is counted in points of a hundred; else in percent of what the original has."""
        return self not in {Metric.MSE, Metric.LOG_LOSS}
