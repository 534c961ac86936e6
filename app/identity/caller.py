"""The dependency that turns a request's key into a Principal."""

from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.core.resources import SessionsDep
from app.core.tenancy import Principal
from app.identity.service import Unauthorized, authenticate

_bearer = HTTPBearer(auto_error=False, description="An API key, `whet_…`")


async def read_caller(
    sessions: SessionsDep, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """In a transaction of its own, so that an upload or an event stream holds no connection while it lasts."""
    if credentials is None:
        raise Unauthorized
    async with sessions() as session:
        return await authenticate(session, credentials.credentials)


Caller = Annotated[Principal, Depends(read_caller)]
