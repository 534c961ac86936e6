"""Why an uploaded model is refused."""

from whetstone.contract.failures import FailureCode
from workers.engine.errors import EngineError


class InvalidModel(EngineError):
    """The file is no valid model."""

    code = FailureCode.INVALID_MODEL
    hint = "Check it with onnx.checker.check_model where it was made, export it again, and upload the whole file."


class NotOnnx(InvalidModel):
    """The file is not ONNX."""


class UnsupportedFormat(EngineError):
    """The file is in a format that is not read."""

    code = FailureCode.UNSUPPORTED_FORMAT
    hint = "Upload an ONNX file, or a zip of one ONNX file with its external data."


class UnsupportedOpset(EngineError):
    """The version of the model's operators is not supported."""

    code = FailureCode.UNSUPPORTED_OPSET
    hint = "Export it again with an opset between 13 and the newest of the onnx package."


class UnsupportedOp(EngineError):
    """The model uses an operator that onnxruntime does not know."""

    code = FailureCode.UNSUPPORTED_OP
    hint = "Replace the operator where the model was made, by operators of the ONNX standard."


class UnsafeFile(EngineError):
    """The file could harm the machine that opens it."""

    code = FailureCode.UNSAFE_FILE
    hint = "Upload one .onnx file, or a zip of it with its external data beside it, with plain relative names."
