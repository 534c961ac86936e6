from fastapi import APIRouter

from app.core.audit import CHANGES_NOTHING
from app.core.database import Session
from app.core.errors import problems
from app.core.etags import ChangedMeanwhile, IfMatch
from app.identity.caller import GUARDED, Admin
from app.identity.once import ONCE, ONCE_ERRORS
from app.identity.routing import Route
from app.retention import service
from app.retention.repository import rules_of
from whetstone.contract.retention import RetentionPreview, RetentionRead, RetentionRules

router = APIRouter(prefix="/v1/retention", tags=["retention"], route_class=Route)


@router.get("", responses=problems(*GUARDED))
async def get_retention(caller: Admin, session: Session) -> RetentionRead:
    """How long what is kept; for ever until rules are set."""
    return service.read(await rules_of(session, caller.tenant_id))


@router.put("", responses=problems(*GUARDED, ChangedMeanwhile))
async def set_retention(body: RetentionRules, caller: Admin, session: Session, expected: IfMatch) -> RetentionRead:
    """Set the rules. They are applied within the hour; see before what they would delete."""
    expected.check(service.read(await rules_of(session, caller.tenant_id, for_update=True)))
    return await service.put(session, caller.tenant_id, body)


@router.post("/preview", dependencies=[ONCE, CHANGES_NOTHING], responses=problems(*GUARDED, *ONCE_ERRORS))
async def preview_retention(body: RetentionRules, caller: Admin, session: Session) -> RetentionPreview:
    """What rules would delete if they were applied now. Nothing is changed."""
    return await service.preview(session, caller.tenant_id, body)
