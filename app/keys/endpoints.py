from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit
from app.core.database import Session
from app.core.errors import problems
from app.core.limiter import Policy, TooManyRequests
from app.core.pagination import InvalidCursor, Paging
from app.core.resources import LimiterDep, SealerDep, SessionsDep, SignerDep
from app.core.scope import enter_tenant
from app.core.telemetry import address_of
from app.core.tenancy import TenantID
from app.identity.caller import GUARDED, Anyone, Caller, Oneself
from app.identity.once import ONCE, ONCE_ERRORS
from app.identity.passwords import CODE_ERRORS, LOGIN_ERRORS, check_login, check_second_factor
from app.identity.routing import Route
from app.identity.tables import UserRow
from app.keys import service
from app.keys.repository import KeyNotFound, KeyRepository
from whetstone.contract.identity import Login, Role
from whetstone.contract.keys import ApiKeyCreate, ApiKeyCreated, ApiKeyRead, RotateKey
from whetstone.contract.pages import Page
from whetstone.contract.second_factor import LoginCode
from whetstone.contract.types import KeyRef, UserRef

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=Route)
login_router = APIRouter(prefix="/v1", tags=["identity"])


@login_router.post("/login", status_code=201, responses=problems(*LOGIN_ERRORS, TooManyRequests))
async def login(
    body: Login, request: Request, session: Session, sessions: SessionsDep, limiter: LimiterDep, signer: SignerDep
) -> ApiKeyCreated:
    """Exchange an email address and password for a new API key that may do whatever the user may."""
    await limiter.hit(Policy.LOGINS, address_of(request))
    user = await check_login(sessions, signer, body.email, body.password.get_secret_value())
    return await _new_key(request, session, user, body.key_name)


@login_router.post("/login/second-factor", status_code=201, responses=problems(*CODE_ERRORS, TooManyRequests))
async def login_with_code(
    body: LoginCode,
    request: Request,
    session: Session,
    sessions: SessionsDep,
    limiter: LimiterDep,
    signer: SignerDep,
    sealer: SealerDep,
) -> ApiKeyCreated:
    """The second call of logging in, where the first was answered by `second_factor_needed`."""
    await limiter.hit(Policy.LOGINS, address_of(request))
    user = await check_second_factor(sessions, signer, sealer, body.ticket, body.code)
    return await _new_key(request, session, user, body.key_name)


async def _new_key(request: Request, session: AsyncSession, user: UserRow, name: str) -> ApiKeyCreated:
    enter_tenant(user.tenant_id)
    made = await service.create_key(session, TenantID(user.tenant_id), user.id, name)
    audit.write(session, request, user.tenant_id, user.id, None, made.row.id)
    return service.created(made, Role(user.role))


@router.post("", status_code=201, dependencies=[ONCE], responses=problems(*GUARDED, *ONCE_ERRORS, service.ScopeTooWide))
async def create_key(wanted: ApiKeyCreate, caller: Oneself, session: Session) -> ApiKeyCreated:
    """Make an API key of one's own. The answer has its secret, this once."""
    return await service.order_key(session, caller, wanted)


@router.get("", responses=problems(*GUARDED, InvalidCursor))
async def list_keys(
    caller: Caller,
    session: Session,
    paging: Paging,
    prefix: Annotated[str | None, Query(max_length=20, description="only keys that begin so")] = None,
    user_id: Annotated[UserRef | None, Query(description="only keys of this member or service account")] = None,
) -> Page[ApiKeyRead]:
    """One's own API keys, for an admin everyone's; newest first."""
    rows, cursor = await KeyRepository(session, caller.tenant_id).page_for(caller, prefix, user_id, paging)
    return Page(items=tuple(service.read(key, role) for key, role in rows), next_cursor=cursor)


@router.post(
    "/{key_id}/rotate",
    status_code=201,
    dependencies=[ONCE],
    responses=problems(*GUARDED, *ONCE_ERRORS, KeyNotFound),
)
async def rotate_key(key_id: KeyRef, wanted: RotateKey, caller: Anyone, session: Session) -> ApiKeyCreated:
    """Make a new key like one's old one, or as an admin like a service account's. The old one stays good for a while,
    so that programs can change over.
    """
    return await service.rotate(session, caller, key_id, timedelta(hours=wanted.overlap_hours))


@router.delete("/{key_id}", status_code=204, response_class=Response, responses=problems(*GUARDED, KeyNotFound))
async def revoke_key(key_id: KeyRef, caller: Anyone, session: Session) -> None:
    """End a key at once: one's own, or as an admin anyone's."""
    await service.revoke(session, caller, key_id)
