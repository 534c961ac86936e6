"""Rules of how long things are kept: what they would delete, and deleting it.

A preview carries the rules out and takes everything back, so that both can never differ.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.artifacts import files
from app.core.tenancy import TenantID
from app.datasets.tables import DatasetRow
from app.fleet.repository import StepRepository
from app.models.tables import ModelRow
from app.retention.repository import Old, rules_of
from app.retention.tables import RetentionRow
from whetstone.contract.retention import RetentionPreview, RetentionRead, RetentionRules

BATCH = 200
T = TypeVar("T")
Delete = Callable[[str], Awaitable[bool]]


class _Needed(Exception):
    """A step at work reads this."""


@dataclass
class Gone:
    """What was deleted, by id; `more`: a batch was full, so there is probably more."""

    jobs: list[str] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    audit_lines: int = 0
    more: bool = False

    def counts(self) -> dict[str, int]:
        """What the audit log tells; empty where nothing went."""
        found = {name: len(getattr(self, name)) for name in ("jobs", "artifacts", "models", "datasets")}
        return {name: count for name, count in (found | {"audit_lines": self.audit_lines}).items() if count}


def read(row: RetentionRow | None) -> RetentionRead:
    if row is None:
        return RetentionRead(rules=RetentionRules(), updated_at=None, applied_at=None)
    return RetentionRead(rules=row.rules, updated_at=row.updated_at, applied_at=row.applied_at)


async def put(session: AsyncSession, tenant_id: TenantID, rules: RetentionRules) -> RetentionRead:
    row = await rules_of(session, tenant_id, for_update=True)
    if row is None:
        row = RetentionRow(tenant_id=tenant_id)
        session.add(row)
    row.rules, row.updated_at = rules, datetime.now(UTC)
    return read(row)


async def preview(session: AsyncSession, tenant_id: TenantID, rules: RetentionRules) -> RetentionPreview:
    """What `apply` would delete first."""
    old = Old(session, tenant_id)
    files_before, bytes_before = await old.stored()
    attempt = await session.begin_nested()
    gone = await apply(session, tenant_id, rules)
    files_after, bytes_after = await old.stored()
    await attempt.rollback()
    return RetentionPreview(
        jobs=tuple(gone.jobs),
        artifacts=tuple(gone.artifacts),
        models=tuple(gone.models),
        datasets=tuple(gone.datasets),
        audit_lines=gone.audit_lines,
        files=files_before - files_after,
        bytes=bytes_before - bytes_after,
        more=gone.more,
    )


async def apply(session: AsyncSession, tenant_id: TenantID, rules: RetentionRules) -> Gone:
    """Delete what is too old, BATCH of each kind at most. What anything refers to, or a step at work reads, stays."""
    gone, now = Gone(), datetime.now(UTC)
    keeper = _Keeper(session, tenant_id, gone)
    if rules.jobs_days is not None:
        await keeper.jobs(now - timedelta(days=rules.jobs_days))
    if rules.artifacts_days is not None:
        await keeper.artifacts(now - timedelta(days=rules.artifacts_days))
    if rules.unused_days is not None:
        before = now - timedelta(days=rules.unused_days)
        gone.models += await keeper.unused(ModelRow, before)
        gone.datasets += await keeper.unused(DatasetRow, before)
    if rules.audit_days is not None:
        gone.audit_lines = await keeper.old.delete_audit(now - timedelta(days=rules.audit_days))
    return gone


class _Keeper:
    """Deletes one thing after the other, each in a savepoint of its own."""

    def __init__(self, session: AsyncSession, tenant_id: TenantID, gone: Gone) -> None:
        self.session = session
        self.tenant_id = tenant_id
        self.old = Old(session, tenant_id)
        self.gone = gone

    async def jobs(self, before: datetime) -> None:
        async def delete(job_id: str) -> bool:
            artifacts = await self._try(lambda: self._job(job_id))
            self.gone.artifacts += artifacts or ()
            return artifacts is not None

        self.gone.jobs += await self._each(partial(self.old.jobs, before), delete)

    async def artifacts(self, before: datetime) -> None:
        """The files of jobs that stay. A job that something refers to, such as a link, keeps its files too."""

        async def delete(job_id: str) -> bool:
            if not await self._is_free(job_id):
                return False
            self.gone.artifacts += await self._artifacts_of(job_id)
            return True

        await self._each(partial(self.old.jobs, before, with_files=True), delete)

    async def unused(self, row: Any, before: datetime) -> list[str]:
        async def delete(row_id: str) -> bool:
            return await self._try(lambda: self._upload(row, row_id)) is not None

        return await self._each(partial(self.old.unused, row, before), delete)

    async def _each(self, find: Callable[[str, int], Awaitable[list[str]]], delete: Delete) -> list[str]:
        """The ids that could be deleted, BATCH at most. What cannot be must not hide what comes after it."""
        done: list[str] = []
        after = ""
        while found := await find(after, BATCH):
            for row_id in found:
                if await delete(row_id):
                    done.append(row_id)
                if len(done) == BATCH:
                    self.gone.more = True
                    return done
            after = found[-1]
        return done

    async def _try(self, delete: Callable[[], Awaitable[T]]) -> T | None:
        """None, with nothing changed, where something refers to it or needs it."""
        try:
            async with self.session.begin_nested():
                return await delete()
        except (IntegrityError, _Needed):
            return None

    async def _is_free(self, job_id: str) -> bool:
        """Whether the job could be deleted as a whole."""
        attempt = await self.session.begin_nested()
        free = await self._try(lambda: self._job(job_id)) is not None
        await attempt.rollback()
        return free

    async def _job(self, job_id: str) -> list[str]:
        """Ids of the artifacts that go with it."""
        artifacts = await self._artifacts_of(job_id)
        await self.old.delete_job(job_id)
        return artifacts

    async def _artifacts_of(self, job_id: str) -> list[str]:
        found = await self.old.delete_artifacts(job_id)
        for file_id in sorted({file_id for _, file_id in found}):
            await files.release(self.session, self.tenant_id, file_id)
        return sorted(artifact_id for artifact_id, _ in found)

    async def _upload(self, row: Any, row_id: str) -> tuple[str, ...]:
        """Ids of the files that it had."""
        file_ids, steps = await self.old.files_of(row, row_id), StepRepository(self.session, self.tenant_id)
        for file_id in file_ids:
            if await steps.needs_file(file_id):
                raise _Needed
        await self.old.delete(row, row_id)
        for file_id in file_ids:
            await files.release(self.session, self.tenant_id, file_id)
        return file_ids
