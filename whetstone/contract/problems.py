"""Errors of the HTTP API: RFC 9457 problem details with a stable `code`."""

from pydantic import BaseModel, ConfigDict

from whetstone.contract.quotas import QuotaUse


class FieldProblem(BaseModel):
    """One field of the request that is wrong; `field` is a JSON pointer without the leading slash."""

    model_config = ConfigDict(frozen=True)

    field: str
    message: str


class Problem(BaseModel):
    """The body of every 4xx and 5xx answer (`application/problem+json`). Open: later fields are no error.

    `quota` is set where the code is `quota_exceeded`, `ticket` where it is `second_factor_needed`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    hint: str | None = None
    errors: tuple[FieldProblem, ...] = ()
    quota: QuotaUse | None = None
    ticket: str | None = None
    request_id: str | None = None
