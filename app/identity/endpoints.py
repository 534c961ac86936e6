from fastapi import APIRouter

from app.core.errors import problems
from app.identity.caller import GUARDED, Anyone
from app.identity.routing import Route
from whetstone.contract.identity import Me

router = APIRouter(prefix="/v1", tags=["identity"], route_class=Route)


@router.get("/me", responses=problems(*GUARDED))
async def who_am_i(caller: Anyone) -> Me:
    """Who the key or session that was sent belongs to, and what it may do."""
    return Me(
        tenant_id=caller.tenant_id,
        user_id=caller.user_id,
        key_id=caller.key_id,
        role=caller.role,
        scopes=tuple(sorted(caller.scopes)),
    )
