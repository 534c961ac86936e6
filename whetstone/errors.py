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


class SecondFactorNeeded(Unauthorized):
    """401: the password is right, and the account asks for a code too; `problem.ticket` goes with it."""


class Forbidden(ApiError):
    """403: the key's scopes, or its user's role, do not allow this."""


class QuotaExceeded(Forbidden):
    """403: the tenant's plan does not allow this much; `problem.quota` says what is used and allowed."""


class NotFound(ApiError):
    """404: there is no such thing, or it belongs to someone else."""


class Conflict(ApiError):
    """409: not in the state it is in."""


class ChangedMeanwhile(ApiError):
    """412: it is not what it was when it was read."""


class TooManyRequests(ApiError):
    """429: too many requests in this minute, and waiting as told did not help."""


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


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: ChangedMeanwhile,
    413: Invalid,
    422: Invalid,
    429: TooManyRequests,
}
_BY_CODE: dict[str, type[ApiError]] = {
    "quota_exceeded": QuotaExceeded,
    "second_factor_needed": SecondFactorNeeded,
}
_SERVER_ERRORS = 500


def error_of(problem: Problem) -> ApiError:
    """The error class of a problem's code, or else of its status."""
    other = ServerError if problem.status >= _SERVER_ERRORS else ApiError
    return _BY_CODE.get(problem.code, _BY_STATUS.get(problem.status, other))(problem)
