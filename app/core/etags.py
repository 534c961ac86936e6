"""Conditional requests (RFC 9110, section 13): ETag on reads, If-None-Match, If-Match on changes.

A strong tag is the hash of the JSON that a read answers, so nothing has to be kept up to date beside the data.
"""

import hashlib
import re
from typing import Annotated

from fastapi import Depends, Header
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from app.core.errors import AppError

GZIP_MARK = "-gzip"
_TAG = re.compile(r'(?:W/)?"([^"]*)"')


class ChangedMeanwhile(AppError):
    """This is not what it was when you read it: its ETag is not the one in If-Match."""

    code, status = "changed_meanwhile", 412
    hint = "Read it again, look at what has changed, and send the new ETag."


def tag_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def names(header: str, tag: str) -> bool:
    """Whether a list of tags has this one. A compressed answer's tag stands for what was compressed."""
    return header.strip() == "*" or tag in {found.removesuffix(GZIP_MARK) for found in _TAG.findall(header)}


class Expected:
    """What the caller believes to change."""

    def __init__(self, header: str | None) -> None:
        self._header = header

    def check(self, now: BaseModel) -> None:
        """Compare with what a read would answer now; the row must be locked. Raises ChangedMeanwhile."""
        if self._header is not None and not names(self._header, tag_of(now.model_dump_json().encode())):
            raise ChangedMeanwhile


def read_expected(
    if_match: Annotated[str | None, Header(max_length=1000, description="change it only if its ETag is this")] = None,
) -> Expected:
    return Expected(if_match)


IfMatch = Annotated[Expected, Depends(read_expected)]


def conditional(request: Request, answer: Response) -> Response:
    """Give a JSON answer its ETag; answer 304 to who has it already."""
    body = getattr(answer, "body", None)  # a file or a stream has none, whatever its type
    if body is not None and answer.media_type == "application/json":
        answer.headers.setdefault("ETag", f'"{tag_of(bytes(body))}"')
    tag, known = answer.headers.get("ETag"), request.headers.get("If-None-Match")
    if tag is None or known is None or not names(known, tag.strip('"')):
        return answer
    kept = {name: value for name, value in answer.headers.items() if name in ("etag", "cache-control", "vary")}
    return Response(status_code=304, headers=kept)
