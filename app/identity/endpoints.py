from fastapi import APIRouter

from app.core.database import Session
from app.core.errors import problems
from app.core.tenancy import TenantID
from app.identity import service
from app.identity.caller import Caller
from whetstone.contract.identity import ApiKeyCreated, Login, Me

router = APIRouter(prefix="/v1", tags=["identity"])


@router.post("/login", status_code=201, responses=problems(service.WrongLogin))
async def login(body: Login, session: Session) -> ApiKeyCreated:
    """Exchange an email address and password for a new API key."""
    user = await service.check_login(session, body.email, body.password.get_secret_value())
    key = await service.create_key(session, TenantID(user.tenant_id), user.id, body.key_name)
    return ApiKeyCreated(
        id=key.row.id, name=key.row.name, prefix=key.row.prefix, secret=key.secret, created_at=key.row.created_at
    )


@router.get("/me", responses=problems(service.Unauthorized))
async def who_am_i(caller: Caller) -> Me:
    """Who the key that was sent belongs to."""
    return Me(tenant_id=caller.tenant_id, user_id=caller.user_id, key_id=caller.key_id)
