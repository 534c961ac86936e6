"""Lists that can be filtered and sorted: what is asked for, and one page of it."""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Self, assert_never

from fastapi import Depends, Query
from pydantic import AwareDatetime
from sqlalchemy import ColumnElement, Select, String, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import terms
from app.core.errors import AppError
from app.core.ids import Prefix
from app.core.labels import InvalidSelector, Requirement, parse
from app.core.pagination import Cursor, InvalidCursor
from whetstone.contract.listing import Sort

MOST_CONDITIONS = 20


class InvalidSearch(AppError):
    """There are no words in `q`, or more than twenty."""

    code, status = "invalid_search", 422
    hint = "Search by the beginnings of words of the name, such as `q=resnet int8`."


LISTING_ERRORS = (InvalidCursor, InvalidSelector, InvalidSearch)
"""What every such list may answer."""


@dataclass(frozen=True)
class Wanted:
    """`after` are name and id of the last row of the page before."""

    limit: int
    sort: Sort
    after: tuple[str, str] | None
    requirements: tuple[Requirement, ...] = ()
    words: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    state: str | None = None
    kind: str | None = None

    def narrowed(self, state: str | None = None, kind: str | None = None) -> Self:
        return replace(self, state=state, kind=kind)

    @property
    def plain(self) -> Cursor | None:
        """The page before in a list of everything, newest first; None for any other list."""
        asked = (self.requirements, self.words, self.since, self.until, self.state, self.kind)
        if self.sort is not Sort.NEWEST or any(asked):
            return None
        return Cursor(self.limit, self.after and self.after[1])


def read_wanted(
    limit: Annotated[int, Query(ge=1, le=100, description="rows a page")] = 20,
    cursor: Annotated[str | None, Query(max_length=4000, description="`next_cursor` of the page before")] = None,
    sort: Annotated[Sort, Query(description="by time of creation or by name; with `-` downwards")] = Sort.NEWEST,
    label: Annotated[
        str | None,
        Query(max_length=2000, description="selector as for Kubernetes", examples=["team=vision,stage!=test"]),
    ] = None,
    q: Annotated[str | None, Query(max_length=200, description="beginnings of words in the name")] = None,
    since: Annotated[AwareDatetime | None, Query(description="created at this moment or later")] = None,
    until: Annotated[AwareDatetime | None, Query(description="created before this moment")] = None,
) -> Wanted:
    words = () if q is None else tuple(terms.words_of(q))
    if q is not None and not 0 < len(words) <= MOST_CONDITIONS:
        raise InvalidSearch
    after = None if cursor is None else _decode(cursor, sort)
    requirements = () if label is None else parse(label)
    return Wanted(limit, sort, after, requirements, words, since, until)


Listing = Annotated[Wanted, Depends(read_wanted)]


def encode(sort: Sort, name: str, row_id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([sort, name, row_id]).encode()).decode()


def _decode(cursor: str, sort: Sort) -> tuple[str, str]:
    """Raises InvalidCursor, also for one of a list in another order."""
    try:
        told = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        of, name, row_id = told
        storable = f"{name}{row_id}".encode()
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise InvalidCursor from error
    if not (isinstance(name, str) and isinstance(row_id, str)) or of != sort or b"\0" in storable:
        raise InvalidCursor
    return name, row_id


async def page_of(
    session: AsyncSession, query: Select[Any], row: Any, prefix: Prefix, wanted: Wanted
) -> tuple[list[Any], str | None]:
    """The rows of one page, and the cursor of the next if there is one. `query` selects the tenant's rows."""
    query = narrowed(query, row, prefix, wanted)
    rows = list(await session.scalars(query.limit(wanted.limit + 1)))
    more = len(rows) > wanted.limit
    rows = rows[: wanted.limit]
    return rows, encode(wanted.sort, rows[-1].name, rows[-1].id) if more else None


def narrowed(query: Select[Any], row: Any, prefix: Prefix, wanted: Wanted) -> Select[Any]:
    """In the order that is wanted, from where the page before ended."""
    among = terms.Among(prefix, row.tenant_id, row.id, _later_id(wanted))
    if wanted.after is not None:
        query = query.where(_later(row, wanted.sort, *wanted.after))
    conditions = [among.labelled(requirement) for requirement in wanted.requirements]
    conditions += [among.named(word) for word in wanted.words]
    if wanted.kind is not None:
        conditions.append(among.of_kind(wanted.kind))
    query = query.where(*conditions)
    if wanted.state is not None:
        query = query.where(row.state == wanted.state)
    if wanted.since is not None:
        query = query.where(row.created_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(row.created_at < wanted.until)
    return query.order_by(*_order(row, wanted.sort))


def _order(row: Any, sort: Sort) -> tuple[ColumnElement[Any], ...]:
    """Ids are in the order of time."""
    match sort:
        case Sort.NEWEST:
            return (row.id.desc(),)
        case Sort.OLDEST:
            return (row.id,)
        case Sort.NAME:
            return row.name, row.id
        case Sort.NAME_DOWN:
            return row.name.desc(), row.id.desc()
        case _:
            assert_never(sort)


def _later(row: Any, sort: Sort, name: str, row_id: str) -> ColumnElement[bool]:
    match sort:
        case Sort.NEWEST | Sort.OLDEST:
            return _beyond(row.id, sort, row_id)
        case Sort.NAME:
            return tuple_(row.name, row.id) > tuple_(name, row_id, types=[String, String])
        case Sort.NAME_DOWN:
            return tuple_(row.name, row.id) < tuple_(name, row_id, types=[String, String])
        case _:
            assert_never(sort)


def _later_id(wanted: Wanted) -> Callable[[Any], ColumnElement[bool]] | None:
    """Where ids are what is sorted by."""
    if wanted.after is None or wanted.sort not in (Sort.NEWEST, Sort.OLDEST):
        return None
    return partial(_beyond, sort=wanted.sort, row_id=wanted.after[1])


def _beyond(column: Any, sort: Sort, row_id: str) -> ColumnElement[bool]:
    return column < row_id if sort is Sort.NEWEST else column > row_id  # type: ignore[no-any-return] # of a column
