"""What can go wrong for a client, as types."""

from whetstone.contract.failures import Failure
from whetstone.contract.problems import Problem


class WhetstoneError(Exception):
    """Anything that went wrong."""


class Unreachable(WhetstoneError):
    """The service cannot be reached."""


class NotLoggedIn(WhetstoneError):
    """No API key: pass one, set WHETSTONE_API_KEY, or run `whet login`."""


class DamagedDownload(WhetstoneError):
    """The downloaded bytes are not the ones that the service announced."""


class ApiError(WhetstoneError):
    """The service refused a request. `problem.code` is stable, `problem.hint` says what to do instead."""

    def __init__(self, problem: Problem) -> None:
        hint = f" {problem.hint}" if problem.hint else ""
        super().__init__(f"{problem.code}: {problem.detail}{hint}")
        self.problem = problem

    @property
    def code(self) -> str:
        return self.problem.code


class Unauthorized(ApiError):
    """401: the key is missing, wrong or revoked."""


class NotFound(ApiError):
    """404: there is no such thing, or it belongs to someone else."""


class Conflict(ApiError):
    """409: not in the state it is in."""


class Invalid(ApiError):
    """413 or 422: the request or the file is wrong."""


class ServerError(ApiError):
    """5xx: the service's fault; trying again later may help."""


class UploadRejected(WhetstoneError):
    """The upload was inspected and cannot be used."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(_sentence(failure))
        self.failure = failure


class JobFailed(WhetstoneError):
    """The job ended without a result."""

    def __init__(self, failure: Failure | None, state: str) -> None:
        super().__init__(_sentence(failure) if failure else f"The job was {state}.")
        self.failure = failure
        self.state = state


def _sentence(failure: Failure) -> str:
    where = f" (layer {failure.layer})" if failure.layer else ""
    hint = f" {failure.hint}" if failure.hint else ""
    return f"{failure.code}: {failure.message}{where}{hint}"


def error_of(problem: Problem) -> ApiError:
    """The error class of a problem's status."""
    match problem.status:
        case 401:
            return Unauthorized(problem)
        case 404:
            return NotFound(problem)
        case 409:
            return Conflict(problem)
        case 413 | 422:
            return Invalid(problem)
        case status if status >= 500:  # noqa: PLR2004 - the class of server errors
            return ServerError(problem)
        case _:
            return ApiError(problem)
