"""Why something failed: one list of codes for the API, the client, the workers and the dashboard."""

from enum import StrEnum

from whetstone.contract.toolkits import Toolkit
from whetstone.contract.types import Contract


class FailureCode(StrEnum):
    """Stable reasons. A code never changes its meaning; new ones may be added."""

    INVALID_MODEL = "invalid_model"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNSUPPORTED_OPSET = "unsupported_opset"
    UNSUPPORTED_OP = "unsupported_op"
    UNSAFE_FILE = "unsafe_file"
    WRONG_CONTENT = "wrong_content"
    INVALID_DATASET = "invalid_dataset"
    DATASET_MISMATCH = "dataset_mismatch"
    DATASET_REQUIRED = "dataset_required"
    MODEL_MISMATCH = "model_mismatch"
    UNKNOWN_LAYER = "unknown_layer"
    NOTHING_TO_DO = "nothing_to_do"
    TRAINING_DIVERGED = "training_diverged"
    CALIBRATION_FAILED = "calibration_failed"
    TARGET_BUILD_FAILED = "target_build_failed"
    RESULT_MISMATCH = "result_mismatch"
    RUNTIME_CRASHED = "runtime_crashed"
    OUT_OF_MEMORY = "out_of_memory"
    TIME_LIMIT = "time_limit"
    NO_WORKER = "no_worker"
    WORKER_LOST = "worker_lost"
    STORAGE_ERROR = "storage_error"
    INTERNAL_ERROR = "internal_error"


INFRASTRUCTURE = frozenset({FailureCode.WORKER_LOST, FailureCode.STORAGE_ERROR})
"""Failures of the house, not of the tenant's files: a step that fails so is tried again."""


class Failure(Contract):
    """What went wrong, where, and what to do about it. `toolkit` is the one that the worker lacks."""

    code: FailureCode
    message: str
    hint: str | None = None
    step: str | None = None
    layer: str | None = None
    toolkit: Toolkit | None = None
    detail: str | None = None
