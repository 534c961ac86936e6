"""Errors of the API: small classes whose docstring is the message, answered as RFC 9457 problems."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from whetstone.contract.problems import FieldProblem, Problem
from whetstone.contract.quotas import QuotaUse

log = structlog.get_logger()
MEDIA_TYPE = "application/problem+json"


class AppError(Exception):
    """The request could not be carried out."""

    code: ClassVar[str] = "bad_request"
    status: ClassVar[int] = 400
    hint: ClassVar[str | None] = None

    def __init__(
        self,
        detail: str | None = None,
        *,
        hint: str | None = None,
        errors: Sequence[FieldProblem] = (),
        quota: QuotaUse | None = None,
        ticket: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or type(self).__doc__)
        self.detail = str(self)
        self.advice = hint or type(self).hint
        self.errors = tuple(errors)
        self.quota = quota
        self.ticket = ticket
        self.headers = dict(headers or {})


def problems(*errors: type[AppError]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route: every error it can answer, with its code as the example."""
    found: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        example = Problem(
            title=HTTPStatus(error.status).phrase,
            status=error.status,
            code=error.code,
            detail=error.__doc__ or "",
            hint=error.hint,
        )
        described = {"model": Problem, "description": example.title, "content": {MEDIA_TYPE: {"examples": {}}}}
        entry = found.setdefault(error.status, described)
        entry["content"][MEDIA_TYPE]["examples"][error.code] = {"value": example.model_dump(exclude_none=True)}
    return found


def answer(request: Request, problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    body = problem.model_copy(update={"request_id": request.scope.get("request_id")})
    return JSONResponse(
        body.model_dump(mode="json", exclude_none=True), problem.status, headers=headers, media_type=MEDIA_TYPE
    )


def _app_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AppError)  # noqa: S101 - registered for this type alone
    problem = Problem(
        title=HTTPStatus(error.status).phrase,
        status=error.status,
        code=error.code,
        detail=error.detail,
        hint=error.advice,
        errors=error.errors,
        quota=error.quota,
        ticket=error.ticket,
    )
    return answer(request, problem, error.headers)


def _pointer(location: tuple[int | str, ...], body: Any) -> str:
    """Where in the request it is, without the names of the kinds of things that pydantic puts in between."""
    parts: list[str] = []
    here: Any = body if location[0] == "body" else None
    for part in location[1:]:
        if isinstance(here, dict) and part not in here and part == here.get("kind"):
            continue
        parts.append(str(part))
        here = _inside(here, part)
    return "/".join(parts) or str(location[0])


def _inside(value: Any, part: int | str) -> Any:
    if isinstance(value, dict):
        return value.get(part)
    return value[part] if isinstance(value, list) and isinstance(part, int) and part < len(value) else None


def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type alone
    fields = tuple(
        FieldProblem(field=_pointer(item["loc"], error.body), message=item["msg"]) for item in error.errors()
    )
    detail = "; ".join(f"{field.field}: {field.message}" for field in fields[:5])
    problem = Problem(
        title="Unprocessable Content",
        status=422,
        code="invalid_request",
        detail=detail,
        hint="See the schema of this route at /docs.",
        errors=fields,
    )
    return answer(request, problem)


_CODES = {401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type alone
    problem = Problem(
        title=HTTPStatus(error.status_code).phrase,
        status=error.status_code,
        code=_CODES.get(error.status_code, "bad_request"),
        detail=str(error.detail),
    )
    return answer(request, problem, dict(error.headers or {}))


def _database_away(request: Request, error: Exception) -> JSONResponse:
    log.warning("the database cannot be reached", path=request.url.path, error=str(error))
    problem = Problem(
        title="Service Unavailable",
        status=503,
        code="database_unavailable",
        detail="The database cannot be reached right now; nothing was changed.",
        hint="Try again in a moment.",
    )
    return answer(request, problem, {"Retry-After": "2"})


def _unstorable(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001 - the framework's signature
    """Text that JSON and our contract can hold and Postgres cannot: the character NUL."""
    problem = Problem(
        title="Unprocessable Content",
        status=422,
        code="invalid_request",
        detail="The request has a text or number that cannot be stored.",
        hint="Leave out control characters, U+0000 above all.",
    )
    return answer(request, problem)


def _went_away(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001 - the framework's signature
    """Nobody reads this answer; it only keeps an upload that was broken off from looking like our fault."""
    detail = "The client closed the connection before the body was complete."
    return answer(request, Problem(title="Bad Request", status=400, code="incomplete_body", detail=detail))


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", path=request.url.path, exc_info=error)
    problem = Problem(
        title="Internal Server Error",
        status=500,
        code="internal_error",
        detail="Something went wrong on our side; nothing was changed.",
        hint="Try again; if it stays, tell the operator the request id.",
    )
    return answer(request, problem)


def install(app: FastAPI) -> None:
    """Answer every error of the app as a problem."""
    app.add_exception_handler(AppError, _app_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(OperationalError, _database_away)
    app.add_exception_handler(DataError, _unstorable)
    app.add_exception_handler(ClientDisconnect, _went_away)
    app.add_exception_handler(Exception, _unexpected)
