"""The dependency that turns a request's key into a Principal."""

from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.core.database import Session
from app.core.tenancy import Principal
from app.identity.service import Unauthorized, authenticate

_bearer = HTTPBearer(auto_error=False, description="An API key, `whet_…`")


async def read_caller(
    session: Session, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    if credentials is None:
        raise Unauthorized
    return await authenticate(session, credentials.credentials)


Caller = Annotated[Principal, Depends(read_caller)]
