"""How a worker's outputs get into the storage: by links that it asks for, straight there."""

import asyncio
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.artifacts import files, transfers
from app.core.signing import InvalidToken, Use
from app.core.storage import Storage, Stored, Transfer, WrongContent, part_size_of
from app.core.tenancy import TenantID
from app.fleet import service
from app.fleet.service import Fleet
from whetstone.contract.steps import UploadAnswer, UploadDone, UploadRequest


async def request_upload(
    session: AsyncSession,
    sessions: async_sessionmaker[AsyncSession],
    fleet: Fleet,
    token: str,
    wanted: UploadRequest,
) -> UploadAnswer:
    """Where to put an output; nowhere if the tenant has this content already. Raises StepLost."""
    step = await service.owned(session, fleet, token)
    tenant_id = TenantID(step.tenant_id)
    if await files.find(session, tenant_id, wanted.sha256) is not None:
        return UploadAnswer()
    key, storage = files.new_key(tenant_id), fleet.storage
    await files.doom(sessions, key, datetime.now(UTC) + files.ABANDONED_AFTER)
    transfer = await storage.begin(
        Transfer(key, wanted.sha256, wanted.size, part_size_of(max(1, wanted.size), storage.single))
    )
    claims = {"key": key, "sha256": wanted.sha256, "size": wanted.size, "part_size": transfer.part_size}
    seconds = fleet.settings.limits.url_seconds
    return UploadAnswer(
        upload=fleet.signer.sign(
            Use.UPLOAD, seconds, tenant_id=tenant_id, multipart=transfer.multipart, transfer=claims
        ),
        parts=await asyncio.to_thread(transfers.links, storage, transfer, list(range(1, transfer.parts + 1))),
    )


async def complete_upload(session: AsyncSession, fleet: Fleet, token: str, done: UploadDone) -> None:
    """The output is there: it is kept once it is proven to be what was announced. Raises PartsMissing, WrongContent."""
    tenant_id = TenantID(service.read_token(fleet, Use.ATTEMPT, token)["tenant_id"])
    claims = fleet.signer.read(Use.UPLOAD, done.upload)
    if claims["tenant_id"] != tenant_id:
        raise InvalidToken
    transfer = Transfer(**claims["transfer"], multipart=claims["multipart"])
    if await files.find(session, tenant_id, transfer.sha256) is None:
        await files.keep(session, tenant_id, await _proven(fleet.storage, transfer))


async def _proven(storage: Storage, transfer: Transfer) -> Stored:
    """No step inspects an output, so where the storage does not check hashes it is read once more, here."""
    stored = await storage.finish(transfer)
    if not stored.proven and await storage.digest(stored.key) != stored.sha256:
        raise WrongContent
    return Stored(stored.key, stored.sha256, stored.size)
