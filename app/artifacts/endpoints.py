from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from app.artifacts import files, service
from app.core.database import Session
from app.core.errors import AppError, problems
from app.core.resources import SessionsDep, SignerDep, StorageDep
from app.core.scope import enter_tenant
from app.core.signing import InvalidToken, Use
from app.core.storage import STREAMED, StorageUnavailable, UploadTooLarge
from app.core.tenancy import TenantID
from app.identity.caller import GUARDED, Caller
from app.identity.routing import Route
from whetstone.contract.jobs import ArtifactRead
from whetstone.contract.types import ArtifactRef

router = APIRouter(prefix="/v1", tags=["artifacts"], route_class=Route)

_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}}, "description": "The bytes; Range requests are answered"}
}


class WrongContent(AppError):
    """The bytes that arrived are not the ones that were announced (size or SHA-256 differ)."""

    code, status = "wrong_content", 422


class ObjectGone(AppError):
    """The file behind this link no longer exists."""

    code, status = "file_gone", 404


@router.get("/artifacts/{artifact_id}", responses=problems(*GUARDED, service.ArtifactNotFound))
async def get_artifact(artifact_id: ArtifactRef, caller: Caller, session: Session) -> ArtifactRead:
    """The facts of one artifact."""
    return service.read(await service.ArtifactRepository(session, caller.tenant_id).get(artifact_id))


@router.get(
    "/artifacts/{artifact_id}/content",
    response_class=FileResponse,
    responses=_BYTES | problems(*GUARDED, service.ArtifactNotFound),
)
async def download_artifact(
    artifact_id: ArtifactRef, caller: Caller, session: Session, storage: StorageDep
) -> FileResponse:
    """The bytes of one artifact; Range and If-Range are understood, the ETag is its SHA-256."""
    row = await service.ArtifactRepository(session, caller.tenant_id).get(artifact_id)
    return FileResponse(
        storage.local_path(row.file.key),
        filename=row.name,
        media_type=row.media_type,
        headers={"ETag": f'"{row.file.sha256}"', "X-Content-Type-Options": "nosniff"},
    )


@router.get("/files/{token}", response_class=FileResponse, responses=_BYTES | problems(InvalidToken, ObjectGone))
async def read_file(token: str, signer: SignerDep, storage: StorageDep) -> FileResponse:
    """Read a file by a signed link."""
    claims = signer.read(Use.FILE, token)
    if claims["method"] != "GET":
        raise InvalidToken
    path = storage.local_path(claims["key"])
    if not path.is_file():
        raise ObjectGone
    return FileResponse(path, filename=claims["filename"], media_type=claims["media_type"])


@router.put(
    "/files/{token}",
    status_code=204,
    max_body_size=STREAMED,
    response_class=Response,
    responses=problems(InvalidToken, WrongContent, UploadTooLarge, StorageUnavailable),
)
async def write_file(
    token: str, request: Request, session: Session, sessions: SessionsDep, signer: SignerDep, storage: StorageDep
) -> None:
    """Write a file by a signed link, which takes exactly the bytes it was made for."""
    claims = signer.read(Use.FILE, token)
    if claims["method"] != "PUT":
        raise InvalidToken
    tenant_id = TenantID(claims["tenant_id"])
    enter_tenant(tenant_id)
    stored = await files.receive(sessions, storage, tenant_id, request.stream(), claims["size"])
    if (stored.sha256, stored.size) != (claims["sha256"], claims["size"]):
        await storage.delete(stored.key)
        raise WrongContent
    await files.keep(session, tenant_id, stored)
