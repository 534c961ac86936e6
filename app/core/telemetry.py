"""Structured logs, and what every request has: an id, headers that belong on any answer, a line in the log."""

import logging
import re
import time
from collections.abc import Mapping
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core import scope as database_scope
from app.core.ids import Prefix, new_id

HEADER = "X-Request-Id"
_ACCEPTED = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_EXTRA = "answer_headers"
log = structlog.get_logger()


def configure_logs(level: str) -> None:
    """JSON lines on standard error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(),
    )


def add_headers(scope: Scope, headers: Mapping[str, str]) -> None:
    """Put these on the answer, whatever it will be: also on a file, a stream or an error."""
    scope[_EXTRA].update(headers)


def address_of(request: Request) -> str:
    """Where a request comes from, as the server was told."""
    return request.client.host if request.client else "unknown"


class Telemetry:
    """Pure ASGI, so that streamed bodies pass through untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = scope["request_id"] = _request_id(scope)
        extra = scope[_EXTRA] = {HEADER: request_id}
        began, status = time.monotonic(), 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(extra)
            await send(message)

        database_scope.enter_nobody()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self.app(scope, receive, send_marked)
        finally:
            log.info("request", status=status, ms=round((time.monotonic() - began) * 1000, 1), **_about(scope))


def _request_id(scope: Scope) -> str:
    """The caller's own id, if it can be one, so that both logs can be read together."""
    given = Headers(scope=scope).get(HEADER, "")
    return given if _ACCEPTED.fullmatch(given) else new_id(Prefix.REQUEST)


def _about(scope: Scope) -> dict[str, Any]:
    """The route's pattern, not the path: a path may hold a signed link."""
    route = scope.get("route")
    return {"method": scope["method"], "route": getattr(route, "path", None)}
