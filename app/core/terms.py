"""What resources are found by: their labels, their kind, and the words of their names.

One row a term. Plain text in the order of bytes, since under row-level security Postgres looks up in an index only what
is compared by operators that cannot leak: those of text can, those of arrays and JSON cannot.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, ForeignKey, Index, String, and_, delete, exists
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, aliased, mapped_column

from app.core.database import Base, IdType
from app.core.labels import Requirement

_WORDS = re.compile(r"[^\W_]+")
_LAST = "\U0010ffff"  # comes after every letter
MOST_LETTERS, MOST_OF_WORD = 400, 200


class TermRow(Base):
    """The database takes them away with their subject (migration 0019)."""

    __tablename__ = "terms"

    tenant_id: Mapped[str] = mapped_column(IdType, ForeignKey("tenants.id"), primary_key=True)
    term: Mapped[str] = mapped_column(String(MOST_LETTERS, collation="C"), primary_key=True)
    subject_id: Mapped[str] = mapped_column(IdType, primary_key=True, index=True)


def list_indexes(table: str) -> tuple[Index, ...]:
    """The orders that a tenant's rows are listed in, and what finds few among many."""
    orders = (("id",), ("name", "id"), ("state", "id"), ("created_at", "id"))
    return tuple(Index("_".join(("ix", table, "tenant_id", *order)), "tenant_id", *order) for order in orders)


def words_of(text: str) -> list[str]:
    return [word[:MOST_OF_WORD] for word in _WORDS.findall(text.lower())]


def _terms(subject_id: str, name: str, labels: dict[str, str], kind: str | None) -> Iterator[str]:
    of = subject_id.partition("_")[0]
    for key, value in labels.items():
        yield f"{of}:label:{key}"
        yield f"{of}:label:{key}={value}"
    for word in words_of(name):
        yield f"{of}:word:{word}"
    if kind is not None:
        yield f"{of}:kind:{kind}"


async def write(
    session: AsyncSession, tenant_id: str, subject_id: str, name: str, labels: dict[str, str], kind: str | None
) -> None:
    """Of a new resource, or of one that was changed. The caller holds its row."""
    terms = sorted(set(_terms(subject_id, name, labels, kind)))
    await session.execute(
        delete(TermRow).where(
            TermRow.tenant_id == tenant_id, TermRow.subject_id == subject_id, TermRow.term.not_in(terms)
        )
    )
    rows = [{"tenant_id": tenant_id, "term": term, "subject_id": subject_id} for term in terms]
    if rows:
        await session.execute(insert(TermRow).on_conflict_do_nothing(), rows)


@dataclass(frozen=True)
class Among:
    """The rows of a list, and what ids can be on the page: told here too, or Postgres reads terms from the first on."""

    prefix: str
    tenant_id: Any
    id: Any
    later: Callable[[Any], ColumnElement[bool]] | None

    def labelled(self, requirement: Requirement) -> ColumnElement[bool]:
        """Rows that keep a requirement of a selector."""
        terms = [f"{self.prefix}:label:{pair}" for pair in requirement.pairs]
        found = self._having(lambda term: term.in_(terms))
        return found if requirement.wanted else ~found

    def of_kind(self, kind: str) -> ColumnElement[bool]:
        return self._having(lambda term: term == f"{self.prefix}:kind:{kind}")

    def named(self, word: str) -> ColumnElement[bool]:
        """Rows whose name has a word that begins so."""
        start = f"{self.prefix}:word:{word}"
        return self._having(lambda term: and_(term >= start, term < start + _LAST))

    def _having(self, condition: Callable[[Any], ColumnElement[bool]]) -> ColumnElement[bool]:
        row = aliased(TermRow)
        mine = [row.tenant_id == self.tenant_id, row.subject_id == self.id, condition(row.term)]
        if self.later is not None:
            mine.append(self.later(row.subject_id))
        return exists().where(*mine)
