"""Cursor pagination over time-ordered ids, newest first."""

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.core.errors import AppError
from whetstone.contract.pages import Page


class InvalidCursor(AppError):
    """The cursor is not one that this list gave out."""

    code, status = "invalid_cursor", 422
    hint = "Pass next_cursor of the page before, unchanged, or leave it out to start from the newest."


@dataclass(frozen=True)
class Cursor:
    limit: int
    before_id: str | None


def read_cursor(
    limit: Annotated[int, Query(ge=1, le=100, description="rows a page")] = 20,
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before")] = None,
) -> Cursor:
    return Cursor(limit, None if cursor is None else _decode(cursor))


Paging = Annotated[Cursor, Depends(read_cursor)]


def _decode(cursor: str) -> str:
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise InvalidCursor from error


def encode(row_id: str) -> str:
    return base64.urlsafe_b64encode(row_id.encode()).decode()


async def page_of(
    session: AsyncSession, query: Select[Any], column: InstrumentedAttribute[str], cursor: Cursor
) -> Page[Any]:
    """One page of `query` ordered by `column` descending; one row more is read to know if there is a next page."""
    if cursor.before_id is not None:
        query = query.where(column < cursor.before_id)
    rows = list(await session.scalars(query.order_by(column.desc()).limit(cursor.limit + 1)))
    more = len(rows) > cursor.limit
    rows = rows[: cursor.limit]
    return Page.model_construct(items=tuple(rows), next_cursor=encode(rows[-1].id) if more else None)
