"""The dependencies that turn a request's key or cookie into a Principal who may do what the route does."""

from collections.abc import Awaitable, Callable
from typing import Annotated, cast

import structlog
from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.limiter import Policy, TooManyRequests
from app.core.scope import any_tenant, confine, enter_tenant
from app.core.telemetry import add_headers
from app.core.tenancy import Principal
from app.identity.service import Forbidden, Unauthorized, by_key, by_session
from whetstone.contract.identity import Scope

COOKIE = "whetstone_session"
GUARDED = (Unauthorized, Forbidden, TooManyRequests)
"""What every route with a caller may answer."""
WITH_CALLER = "session_with_caller"
"""In a request's scope: the session that its caller is looked up in."""
_SAFE = ("GET", "HEAD", "OPTIONS")

_bearer = HTTPBearer(auto_error=False, description="An API key, `whet_…`")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="A browser's session, from `POST /v1/sessions`")


async def identify(request: Request) -> Principal:
    """The caller, found and counted once a request. Raises Unauthorized, Forbidden, TooManyRequests.

    In a transaction of its own, so that an upload or an event stream holds no connection while it lasts; in that of the
    request where the route says so.
    """
    if "caller" in request.scope:
        return cast("Principal", request.scope["caller"])
    shared: AsyncSession | None = request.scope.get(WITH_CALLER)
    with any_tenant():
        if shared is not None:
            caller = await _look_up(request, shared)
        else:
            async with request.app.state.sessions.begin() as session:
                caller = await _look_up(request, session)
    enter_tenant(caller.tenant_id)
    if shared is not None:
        await confine(shared)
    structlog.contextvars.bind_contextvars(tenant_id=caller.tenant_id, key_id=caller.key_id)
    quota = request.app.state.settings.quotas(caller.plan).requests_a_minute
    window = await request.app.state.limiter.hit(Policy.REQUESTS, caller.tenant_id, quota)
    if window is not None:
        add_headers(request.scope, window.headers())
    request.app.state.tally.add(caller.tenant_id)
    request.scope["caller"] = caller
    return caller


async def _look_up(request: Request, session: AsyncSession) -> Principal:
    """A key goes before a cookie. A cookie comes along by itself, so it changes nothing at another page's wish."""
    credentials, cookie = await _bearer(request), request.cookies.get(COOKIE)
    if credentials is not None:
        return await by_key(session, credentials.credentials)
    if not cookie:
        raise Unauthorized
    if request.method not in _SAFE and request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        raise Forbidden("A page of another origin may not change anything with this browser's session.")
    return await by_session(session, cookie)


async def _any(
    request: Request,
    _key: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    _session: Annotated[str | None, Depends(_cookie)],
) -> Principal:
    return await identify(request)


async def _unrestricted(caller: Annotated[Principal, Depends(_any)]) -> Principal:
    """What concerns the user's own account: a key that was handed to a program must not take it over."""
    if caller.restricted:
        raise Forbidden("A key with an end or with limited scopes may not do this.")
    return caller


async def _unrestricted_admin(caller: Annotated[Principal, Depends(_unrestricted)]) -> Principal:
    """Whoever makes a key for another account gets to know it."""
    if Scope.ADMIN not in caller.scopes:
        raise Forbidden(f"This needs the scope `{Scope.ADMIN}`.")
    return caller


def _with(scope: Scope) -> Callable[..., Awaitable[Principal]]:
    async def read_caller(caller: Annotated[Principal, Depends(_any)]) -> Principal:
        if scope not in caller.scopes:
            raise Forbidden(f"This needs the scope `{scope}`.")
        return caller

    return read_caller


Caller = Annotated[Principal, Depends(_with(Scope.READ))]
Writer = Annotated[Principal, Depends(_with(Scope.WRITE))]
Admin = Annotated[Principal, Depends(_with(Scope.ADMIN))]
Anyone = Annotated[Principal, Depends(_any)]
Oneself = Annotated[Principal, Depends(_unrestricted)]
Keymaker = Annotated[Principal, Depends(_unrestricted_admin)]
