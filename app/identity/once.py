"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a request that is repeated is carried out once.

The answer is stored in the transaction that carries the request out, so a crash leaves both or neither. While that
transaction runs it holds an advisory lock on the key, which ends with it or with its connection: no key is ever stuck.
A refused request changes nothing and stores nothing, so it may be repeated.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Self

from fastapi import Depends, Header, Request, Response
from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import AppError
from app.core.sealing import Sealer
from app.core.tenancy import Principal
from app.identity.tables import StoredAnswerRow

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotency-Replayed": "true"}
KEPT = timedelta(hours=24)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class InvalidIdempotencyKey(AppError):
    """An Idempotency-Key is 1 to 255 visible ASCII characters."""

    code, status = "invalid_idempotency_key", 422
    hint = "Use a new UUID for each request, and the same one when you repeat it."


class IdempotencyKeyReused(AppError):
    """This Idempotency-Key was used for another request in the last 24 hours."""

    code, status = "idempotency_key_reused", 422
    hint = "Use a new UUID for each request, and the same one only when you repeat it unchanged."


class IdempotencyInProgress(AppError):
    """A request with this Idempotency-Key is being carried out right now."""

    code, status = "idempotency_in_progress", 409
    hint = "Repeat the request in a moment to get its answer."


ONCE_ERRORS = (InvalidIdempotencyKey, IdempotencyKeyReused, IdempotencyInProgress)

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias=HEADER,
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="repeat a request with the same key and it is carried out once (24 hours)",
    ),
]


async def _declare(_key: IdempotencyKey = None) -> None:
    """The header is read by the route, before anything of the request is carried out."""


ONCE = Depends(_declare)
"""Among the `dependencies` of a POST whose work happens in the request's own session."""


@dataclass(frozen=True)
class Use:
    """A key, and what it stands for. The caller's own API key is part of that: nobody is shown another's answer."""

    tenant_id: str
    key: str
    fingerprint: bytes

    @classmethod
    def of(cls, caller: Principal, request: Request, content: bytes) -> Self | None:
        """None without a key. Raises InvalidIdempotencyKey."""
        key = request.headers.get(HEADER)
        if key is None:
            return None
        if _KEY.fullmatch(key) is None:
            raise InvalidIdempotencyKey
        about = (caller.key_id, request.method, request.url.path, request.url.query)
        sealer: Sealer = request.app.state.sealer
        return cls(caller.tenant_id, key, sealer.fingerprint("\0".join(about).encode() + b"\0" + content))

    @property
    def lock(self) -> int:
        """A 64-bit number, as Postgres' advisory locks want it."""
        digest = hashlib.sha256(f"{self.tenant_id}\0{self.key}".encode()).digest()
        return int.from_bytes(digest[:8], signed=True)


async def earlier(session: AsyncSession, sealer: Sealer, use: Use) -> Response | None:
    """The stored answer; without one the key is this transaction's. Raises IdempotencyInProgress, …KeyReused."""
    if not await session.scalar(text("select pg_try_advisory_xact_lock(:lock)"), {"lock": use.lock}):
        raise IdempotencyInProgress(headers={"Retry-After": "1"})
    query = select(StoredAnswerRow).where(
        StoredAnswerRow.tenant_id == use.tenant_id,
        StoredAnswerRow.key == use.key,
        StoredAnswerRow.created_at > datetime.now(UTC) - KEPT,
    )
    row = await session.scalar(query)
    if row is None:
        return None
    if row.fingerprint != use.fingerprint:
        raise IdempotencyKeyReused
    return Response(sealer.open(row.body), row.status, dict(REPLAYED), row.media_type)


async def keep(session: AsyncSession, sealer: Sealer, use: Use, answer: Response) -> None:
    """Store the answer; sealed, since some answers show a secret that is shown only once."""
    kept = {
        "fingerprint": use.fingerprint,
        "status": answer.status_code,
        "media_type": answer.media_type,
        "body": sealer.seal(bytes(answer.body)),
        "created_at": datetime.now(UTC),
    }
    query = insert(StoredAnswerRow).values(tenant_id=use.tenant_id, key=use.key, **kept)
    # Only an expired answer can be there: the lock and the look before saw no other.
    await session.execute(query.on_conflict_do_update(index_elements=["tenant_id", "key"], set_=kept))


async def sweep(session: AsyncSession, limit: int = 1000) -> int:
    """Forget answers older than a day. Returns how many."""
    old = select(StoredAnswerRow.tenant_id, StoredAnswerRow.key).where(
        StoredAnswerRow.created_at <= datetime.now(UTC) - KEPT
    )
    keys = (await session.execute(old.limit(limit).with_for_update(skip_locked=True))).all()
    for tenant_id, key in keys:
        await session.execute(
            delete(StoredAnswerRow).where(StoredAnswerRow.tenant_id == tenant_id, StoredAnswerRow.key == key)
        )
    return len(keys)
