"""Why a dataset is refused, or does not go with a model."""

from whetstone.contract.failures import FailureCode
from workers.engine.errors import EngineError


class InvalidDataset(EngineError):
    """The file is no valid dataset."""

    code = FailureCode.INVALID_DATASET
    hint = (
        "Upload an .npz or .h5 with one array per model input and, optionally, 'labels'; or another file, and declare "
        "how samples are made of it."
    )


class DatasetMismatch(EngineError):
    """The dataset does not go with the model."""

    code = FailureCode.DATASET_MISMATCH
    hint = "Name each array after a model input, one row per sample, with the same type and shape."
