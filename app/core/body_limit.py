"""The framework refuses a body that is too large with a line of text, past all handlers: make it a problem like any."""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import answer
from whetstone.contract.problems import Problem

_TOO_LARGE = 413


class BodyLimitProblems:
    """Pure ASGI, so that streamed bodies pass through untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        replaced = False

        async def send_problem(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
                replaced = message["status"] == _TOO_LARGE and kind.startswith("text/plain")
                if replaced:
                    await answer(Request(scope), _PROBLEM)(scope, receive, send)
            if not replaced:
                await send(message)

        await self.app(scope, receive, send_problem)


_PROBLEM = Problem(
    title="Content Too Large",
    status=_TOO_LARGE,
    code="body_too_large",
    detail="The body of this request is larger than this route takes.",
    hint="Models and datasets are uploaded as raw bytes to their own routes; other bodies are small.",
)
