"""Why an uploaded model is refused."""

from whetstone.contract.failures import FailureCode
from workers.engine.errors import EngineError


class InvalidModel(EngineError):
    """The file is no valid model."""

    code = FailureCode.INVALID_MODEL


class UnsupportedFormat(EngineError):
    """The file is in a format that is not read."""

    code = FailureCode.UNSUPPORTED_FORMAT
    hint = "Upload an ONNX file, or a zip of one ONNX file with its external data."


class UnsupportedOpset(EngineError):
    """The version of the model's operators is not supported."""

    code = FailureCode.UNSUPPORTED_OPSET


class UnsupportedOp(EngineError):
    """The model uses an operator that onnxruntime does not know."""

    code = FailureCode.UNSUPPORTED_OP


class UnsafeFile(EngineError):
    """The file could harm the machine that opens it."""

    code = FailureCode.UNSAFE_FILE
