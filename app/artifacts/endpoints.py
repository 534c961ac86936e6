from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, Response

from app.artifacts import service
from app.core.database import Session
from app.core.errors import problems
from app.core.resources import SignerDep, StorageDep
from app.core.signing import InvalidToken, Use
from app.core.storage import STREAMED, StorageUnavailable, UploadTooLarge, WrongContent
from app.core.storage_local import LocalStorage, ObjectGone
from app.identity.caller import GUARDED, Caller
from app.identity.routing import Route
from whetstone.contract.jobs import ArtifactRead
from whetstone.contract.types import ArtifactRef

router = APIRouter(prefix="/v1", tags=["artifacts"], route_class=Route)

_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}}, "description": "The bytes; Range requests are answered"}
}
_BYTES = _FILE | {307: {"description": "The bytes are at `Location`, a signed link into the bucket"}}


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
) -> Response:
    """The bytes of one artifact, or the way to them. Range and If-Range are understood; the ETag is the SHA-256 where
    the service itself has the bytes.
    """
    row = await service.ArtifactRepository(session, caller.tenant_id).get(artifact_id)
    return storage.answer(row.file.key, row.file.sha256, row.name, row.media_type)


def local_storage(storage: StorageDep) -> LocalStorage:
    """Links to the API are signed only where it has the files itself."""
    if not isinstance(storage, LocalStorage):
        raise InvalidToken
    return storage


LocalStorageDep = Annotated[LocalStorage, Depends(local_storage)]


@router.get("/files/{token}", response_class=FileResponse, responses=_FILE | problems(InvalidToken, ObjectGone))
async def read_file(token: str, signer: SignerDep, storage: LocalStorageDep) -> FileResponse:
    """Read a file by a signed link."""
    claims = signer.read(Use.FILE, token)
    if claims["method"] != "GET":
        raise InvalidToken
    return storage.read(claims)


@router.put(
    "/files/{token}",
    status_code=204,
    max_body_size=STREAMED,
    response_class=Response,
    responses=problems(InvalidToken, WrongContent, UploadTooLarge, StorageUnavailable),
)
async def write_file(token: str, request: Request, signer: SignerDep, storage: LocalStorageDep) -> None:
    """Write a file, or a part of one, by a signed link, which takes exactly the bytes it was made for."""
    claims = signer.read(Use.FILE, token)
    if claims["method"] != "PUT":
        raise InvalidToken
    await storage.take(claims, request.stream())
