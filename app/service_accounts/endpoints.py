from typing import Annotated

from fastapi import APIRouter, Body, Request
from fastapi.responses import Response

from app.core import audit
from app.core.database import Session
from app.core.errors import problems
from app.core.etags import ChangedMeanwhile, IfMatch
from app.core.pagination import InvalidCursor, Paging
from app.identity.caller import GUARDED, Admin, Caller, Keymaker
from app.identity.once import ONCE, ONCE_ERRORS
from app.identity.routing import Route
from app.keys.service import ScopeTooWide
from app.service_accounts import service
from app.service_accounts.repository import ServiceAccountNotFound, ServiceAccountRepository
from whetstone.contract.identity import Scope
from whetstone.contract.keys import ApiKeyCreate, ApiKeyCreated
from whetstone.contract.pages import Page
from whetstone.contract.service_accounts import ServiceAccountChange, ServiceAccountCreate, ServiceAccountRead
from whetstone.contract.types import UserRef

router = APIRouter(prefix="/v1/service-accounts", tags=["service accounts"], route_class=Route)

_EXAMPLES = [ServiceAccountCreate(name="GitHub Actions").model_dump(mode="json")]
_KEYS = [
    ApiKeyCreate(name="deploy", scopes=frozenset({Scope.WRITE}), expires_in_days=90).model_dump(mode="json"),
]


@router.post("", status_code=201, dependencies=[ONCE], responses=problems(*GUARDED, *ONCE_ERRORS))
async def create_service_account(
    wanted: Annotated[ServiceAccountCreate, Body(examples=_EXAMPLES)], caller: Admin, session: Session
) -> ServiceAccountRead:
    """Make an account for a program, such as a CI. Then make it keys."""
    return service.read(await service.create(session, caller.tenant_id, wanted))


@router.get("", responses=problems(*GUARDED, InvalidCursor))
async def list_service_accounts(caller: Caller, session: Session, paging: Paging) -> Page[ServiceAccountRead]:
    """Every service account, newest first."""
    page = await ServiceAccountRepository(session, caller.tenant_id).page(paging)
    return Page(items=tuple(service.read(row) for row in page.items), next_cursor=page.next_cursor)


@router.get("/{account_id}", responses=problems(*GUARDED, ServiceAccountNotFound))
async def get_service_account(account_id: UserRef, caller: Caller, session: Session) -> ServiceAccountRead:
    """One service account."""
    return service.read(await ServiceAccountRepository(session, caller.tenant_id).get(account_id))


@router.patch("/{account_id}", responses=problems(*GUARDED, ServiceAccountNotFound, ChangedMeanwhile))
async def change_service_account(
    account_id: UserRef, wanted: ServiceAccountChange, caller: Admin, session: Session, expected: IfMatch
) -> ServiceAccountRead:
    """Rename it, give it another role, or switch it off or on. While it is off none of its keys is good."""
    row = await ServiceAccountRepository(session, caller.tenant_id).get(account_id, for_update=True)
    expected.check(service.read(row))
    service.change(row, wanted)
    return service.read(row)


@router.delete(
    "/{account_id}",
    status_code=204,
    response_class=Response,
    responses=problems(*GUARDED, ServiceAccountNotFound, ChangedMeanwhile),
)
async def delete_service_account(account_id: UserRef, caller: Admin, session: Session, expected: IfMatch) -> None:
    """Delete it with its keys."""
    row = await ServiceAccountRepository(session, caller.tenant_id).get(account_id, for_update=True)
    expected.check(service.read(row))
    await session.delete(row)


@router.post(
    "/{account_id}/keys",
    status_code=201,
    dependencies=[ONCE],
    responses=problems(*GUARDED, *ONCE_ERRORS, ServiceAccountNotFound, ScopeTooWide),
)
async def create_service_account_key(
    account_id: UserRef,
    wanted: Annotated[ApiKeyCreate, Body(examples=_KEYS)],
    request: Request,
    caller: Keymaker,
    session: Session,
) -> ApiKeyCreated:
    """Make it a key. The answer has its secret, this once. `/v1/keys` lists, rotates and revokes it."""
    row = await ServiceAccountRepository(session, caller.tenant_id).get(account_id, for_update=True)
    made = await service.order_key(session, row, wanted)
    told = {"service_account": row.id}
    audit.write(session, request, caller.tenant_id, caller.user_id, caller.key_id, made.id, told)
    return made
