"""Compress JSON answers, and nothing else: files are compressed already or hashed as they are, events must not wait."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipResponder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.etags import GZIP_MARK

MINIMUM = 1024  # bytes
LEVEL = 5
_JSON = ("application/json", "application/problem+json")


class JsonGZip:
    """Pure ASGI, so that streamed bodies pass through untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "gzip" not in Headers(scope=scope).get("Accept-Encoding", ""):
            await self.app(scope, receive, send)
        else:
            await _JsonResponder(self.app, MINIMUM, LEVEL)(scope, receive, _marking(send))


class _JsonResponder(GZipResponder):
    async def send_with_compression(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = Headers(raw=message["headers"])
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            is_file = "content-disposition" in headers
            self.exclude_content_types = () if kind in _JSON and not is_file else (kind,)
        await super().send_with_compression(message)


def _marking(send: Send) -> Send:
    """Other bytes need another strong ETag (RFC 9110, section 8.8.3.3)."""

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            if headers.get("Content-Encoding") == "gzip" and headers.get("ETag", "").startswith('"'):
                headers["ETag"] = f'{headers["ETag"][:-1]}{GZIP_MARK}"'
        await send(message)

    return marked
