"""Errors of the engine: small classes whose docstring is the message, each with a stable code."""

from typing import ClassVar

from whetstone.contract.failures import Failure, FailureCode
from workers.engine.request import MadeFile


class EngineError(Exception):
    """The step could not be done."""

    code: ClassVar[FailureCode] = FailureCode.INTERNAL_ERROR
    hint: ClassVar[str | None] = None

    outputs: tuple[MadeFile, ...] = ()
    """Files that are of use though the step has failed."""

    def __init__(self, message: str | None = None, *, layer: str | None = None, hint: str | None = None) -> None:
        super().__init__(message or type(self).__doc__ or type(self).__name__)
        self.layer = layer
        self.advice = hint or type(self).hint

    def as_failure(self) -> Failure:
        return Failure(code=self.code, message=str(self), hint=self.advice, layer=self.layer)
