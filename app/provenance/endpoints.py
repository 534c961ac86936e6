from fastapi import APIRouter, Request

from app.core.database import Session
from app.identity.routing import Route
from app.provenance import service
from whetstone.contract.provenance import SigningKeyRead

router = APIRouter(prefix="/v1", tags=["provenance"], route_class=Route)


@router.get("/signing-keys")
async def list_signing_keys(request: Request, session: Session) -> tuple[SigningKeyRead, ...]:
    """The public keys that manifests are signed with, old ones included. Anyone may ask."""
    return await service.keys(session, request.app.state.fleet.signing_key)
