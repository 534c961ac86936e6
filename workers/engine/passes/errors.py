"""Why a pass does not do its work."""

from whetstone.contract.failures import FailureCode
from workers.engine.errors import EngineError


class NothingToDo(EngineError):
    """The pass finds nothing in the model that it could change."""

    code = FailureCode.NOTHING_TO_DO
    hint = "Leave this pass out of the recipe for this model."


class UnknownLayer(EngineError):
    """A name in the settings is in no layer of the model."""

    code = FailureCode.UNKNOWN_LAYER
    hint = "The model's page lists its layers and weights by name."


class NeedsDataset(EngineError):
    """The pass learns from examples, and the job has no dataset."""

    code = FailureCode.DATASET_REQUIRED
    hint = "Name a dataset in the job."


class NeedsModel(EngineError):
    """The pass needs a model that the step was not given."""

    code = FailureCode.MODEL_MISMATCH


class CalibrationFailed(EngineError):
    """The ranges of the activations could not be found."""

    code = FailureCode.CALIBRATION_FAILED
    hint = "Look at the calibration split: each sample must be an input that the model takes."


class BrokenResult(EngineError):
    """The pass made a graph that does not hold what it must."""

    code = FailureCode.RESULT_MISMATCH
    hint = "The original is untouched; leave this pass out of the recipe for this model."
