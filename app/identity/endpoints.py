from fastapi import APIRouter, Request

from app.core.database import Session
from app.core.errors import problems
from app.core.limiter import Policy, TooManyRequests
from app.core.resources import LimiterDep
from app.core.tenancy import TenantID
from app.identity import service
from app.identity.caller import GUARDED, Caller
from app.identity.routing import Route
from whetstone.contract.identity import ApiKeyCreated, Login, Me

router = APIRouter(prefix="/v1", tags=["identity"], route_class=Route)


@router.post("/login", status_code=201, responses=problems(service.WrongLogin, TooManyRequests))
async def login(body: Login, request: Request, session: Session, limiter: LimiterDep) -> ApiKeyCreated:
    """Exchange an email address and password for a new API key."""
    address = request.client.host if request.client else "unknown"
    for who in (address, body.email.lower()):
        await limiter.hit(Policy.LOGINS, who)
    user = await service.check_login(session, body.email, body.password.get_secret_value())
    key = await service.create_key(session, TenantID(user.tenant_id), user.id, body.key_name)
    return ApiKeyCreated(
        id=key.row.id, name=key.row.name, prefix=key.row.prefix, secret=key.secret, created_at=key.row.created_at
    )


@router.get("/me", responses=problems(*GUARDED))
async def who_am_i(caller: Caller) -> Me:
    """Who the key that was sent belongs to."""
    return Me(tenant_id=caller.tenant_id, user_id=caller.user_id, key_id=caller.key_id)
