"""Signing in and out with a browser."""

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.core import audit
from app.core.database import Session
from app.core.errors import problems
from app.core.limiter import Policy, TooManyRequests
from app.core.resources import LimiterDep, SealerDep, SessionsDep, SettingsDep, SignerDep
from app.core.scope import enter_tenant
from app.core.telemetry import address_of
from app.identity.caller import COOKIE, GUARDED, Anyone, Oneself
from app.identity.passwords import CODE_ERRORS, LOGIN_ERRORS, check_login, check_second_factor
from app.identity.routing import Route
from app.identity.service import forget_session
from app.identity.tables import UserRow
from app.members import cookie, service
from app.members.repository import SessionNotFound, SessionRepository
from app.settings import Settings
from whetstone.contract.identity import SignIn
from whetstone.contract.members import SessionRead
from whetstone.contract.second_factor import SignInCode
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
    signer: SignerDep,
) -> SessionRead:
    """Sign in: the answer sets the cookie of a new session, which ends after 12 idle hours or 14 days."""
    await limiter.hit(Policy.LOGINS, address_of(request))
    user = await check_login(sessions, signer, body.email, body.password.get_secret_value())
    return await begin_session(request, response, session, sessions, settings, user)


@router.post("/second-factor", status_code=201, responses=problems(*CODE_ERRORS, TooManyRequests))
async def sign_in_with_code(
    body: SignInCode,
    request: Request,
    response: Response,
    session: Session,
    sessions: SessionsDep,
    limiter: LimiterDep,
    settings: SettingsDep,
    signer: SignerDep,
    sealer: SealerDep,
) -> SessionRead:
    """The second call of signing in, where the first was answered by `second_factor_needed`."""
    await limiter.hit(Policy.LOGINS, address_of(request))
    user = await check_second_factor(sessions, signer, sealer, body.ticket, body.code)
    return await begin_session(request, response, session, sessions, settings, user)


async def begin_session(
    request: Request,
    response: Response,
    session: AsyncSession,
    sessions: async_sessionmaker[AsyncSession],
    settings: Settings,
    user: UserRow,
) -> SessionRead:
    """A new session for this browser; the one that it had ends, whoever's it was."""
    await forget_session(sessions, request.cookies.get(COOKIE))
    enter_tenant(user.tenant_id)
    row, secret = await service.sign_in(session, user, address_of(request), request.headers.get("User-Agent", ""))
    audit.write(session, request, user.tenant_id, user.id, None, row.id)
    cookie.hand_out(response, settings, secret)
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
