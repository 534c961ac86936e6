"""Signing in and out with a browser."""

from fastapi import APIRouter, Request, Response

from app.core import audit
from app.core.database import Session
from app.core.errors import problems
from app.core.limiter import Policy, TooManyRequests
from app.core.resources import LimiterDep, SessionsDep, SettingsDep
from app.core.scope import enter_tenant
from app.identity.caller import COOKIE, GUARDED, Anyone, Oneself
from app.identity.passwords import LOGIN_ERRORS, check_login
from app.identity.routing import Route
from app.identity.service import SESSION_LONGEST
from app.members import service
from app.members.repository import SessionNotFound, SessionRepository
from whetstone.contract.identity import SignIn
from whetstone.contract.members import SessionRead
from whetstone.contract.types import SessionRef

router = APIRouter(prefix="/v1/sessions", tags=["sessions"], route_class=Route)


@router.post("", status_code=201, responses=problems(*LOGIN_ERRORS, TooManyRequests))
async def sign_in(
    body: SignIn,
    request: Request,
    response: Response,
    session: Session,
    sessions: SessionsDep,
    limiter: LimiterDep,
    settings: SettingsDep,
) -> SessionRead:
    """Sign in: the answer sets the cookie of a new session, which ends after 12 idle hours or 14 days."""
    address = request.client.host if request.client else "unknown"
    await limiter.hit(Policy.LOGINS, address)
    user = await check_login(sessions, body.email, body.password.get_secret_value())
    enter_tenant(user.tenant_id)
    row, secret = await service.sign_in(session, user, address, request.headers.get("User-Agent", ""))
    audit.write(session, request, user.tenant_id, user.id, None, row.id)
    response.set_cookie(
        COOKIE,
        secret,
        max_age=int(SESSION_LONGEST.total_seconds()),
        httponly=True,
        secure=settings.public_url.startswith("https:"),
        samesite="lax",
    )
    return service.read_session(row, row.id)


@router.get("", responses=problems(*GUARDED))
async def list_sessions(caller: Anyone, session: Session) -> tuple[SessionRead, ...]:
    """Where one is signed in, newest first."""
    rows = await SessionRepository(session, caller.tenant_id).of_user(caller.user_id)
    return tuple(service.read_session(row, caller.key_id) for row in rows)


@router.delete("", status_code=204, response_class=Response, responses=problems(*GUARDED))
async def sign_out_everywhere(caller: Oneself, session: Session) -> None:
    """End every session of one's own, this one too."""
    await SessionRepository(session, caller.tenant_id).end(caller.user_id)


@router.delete("/{session_id}", status_code=204, response_class=Response, responses=problems(*GUARDED, SessionNotFound))
async def sign_out(session_id: SessionRef, caller: Oneself, session: Session) -> None:
    """End one session of one's own."""
    row = await SessionRepository(session, caller.tenant_id).get(session_id, for_update=True)
    if row.user_id != caller.user_id:
        raise SessionNotFound
    await session.delete(row)
