"""The dependency that turns a request's key into a Principal."""

from typing import Annotated, cast

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.core.limiter import Policy, TooManyRequests
from app.core.telemetry import add_headers
from app.core.tenancy import Principal
from app.identity.service import Unauthorized, authenticate

GUARDED = (Unauthorized, TooManyRequests)
"""What every route with a Caller may answer."""

_bearer = HTTPBearer(auto_error=False, description="An API key, `whet_…`")


async def identify(request: Request) -> Principal:
    """The caller, found and counted once a request. Raises Unauthorized, TooManyRequests.

    In a transaction of its own, so that an upload or an event stream holds no connection while it lasts.
    """
    if "caller" in request.scope:
        return cast("Principal", request.scope["caller"])
    credentials = await _bearer(request)
    if credentials is None:
        raise Unauthorized
    async with request.app.state.sessions() as session:
        caller = await authenticate(session, credentials.credentials)
    structlog.contextvars.bind_contextvars(tenant_id=caller.tenant_id, key_id=caller.key_id)
    window = await request.app.state.limiter.hit(Policy.REQUESTS, caller.tenant_id)
    if window is not None:
        add_headers(request.scope, window.headers())
    request.scope["caller"] = caller
    return caller


async def read_caller(
    request: Request, _credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    return await identify(request)


Caller = Annotated[Principal, Depends(read_caller)]
