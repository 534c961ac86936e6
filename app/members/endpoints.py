from fastapi import APIRouter, Request, Response

from app.core import audit
from app.core.database import Session
from app.core.errors import problems
from app.core.etags import ChangedMeanwhile, IfMatch
from app.core.limiter import Policy, TooManyRequests
from app.core.pagination import InvalidCursor, Paging
from app.core.resources import LimiterDep, SealerDep, SessionsDep, SettingsDep
from app.core.scope import enter_any_tenant
from app.core.telemetry import address_of
from app.identity.caller import GUARDED, Admin, Caller, Oneself
from app.identity.once import ONCE, ONCE_ERRORS
from app.identity.passwords import LockedOut, WrongLogin
from app.identity.routing import Route
from app.members import cookie, service
from app.members.repository import InvitationNotFound, InvitationRepository, MemberNotFound, MemberRepository
from whetstone.contract.members import (
    InvitationAccept,
    InvitationCreate,
    InvitationCreated,
    InvitationRead,
    MemberChange,
    MemberRead,
    PasswordChange,
)
from whetstone.contract.pages import Page
from whetstone.contract.types import InvitationRef, UserRef

router = APIRouter(prefix="/v1", tags=["members"], route_class=Route)


@router.get("/members", responses=problems(*GUARDED, InvalidCursor))
async def list_members(caller: Caller, session: Session, paging: Paging) -> Page[MemberRead]:
    """Who belongs to the tenant, newest first."""
    page = await MemberRepository(session, caller.tenant_id).page(paging)
    return Page(items=tuple(service.read(row) for row in page.items), next_cursor=page.next_cursor)


@router.get("/members/{user_id}", responses=problems(*GUARDED, MemberNotFound))
async def get_member(user_id: UserRef, caller: Caller, session: Session) -> MemberRead:
    """One member."""
    return service.read(await MemberRepository(session, caller.tenant_id).get(user_id))


@router.patch("/members/{user_id}", responses=problems(*GUARDED, MemberNotFound, service.LastOwner, ChangedMeanwhile))
async def change_member(
    user_id: UserRef, wanted: MemberChange, caller: Admin, session: Session, expected: IfMatch
) -> MemberRead:
    """Give a member another role. Their keys can do no more than the role from then on."""
    row = await MemberRepository(session, caller.tenant_id).get(user_id, for_update=True)
    expected.check(service.read(row))
    await service.change_role(session, caller, row, wanted.role)
    return service.read(row)


@router.delete(
    "/members/{user_id}",
    status_code=204,
    response_class=Response,
    responses=problems(*GUARDED, MemberNotFound, service.LastOwner, ChangedMeanwhile),
)
async def remove_member(user_id: UserRef, caller: Admin, session: Session, expected: IfMatch) -> None:
    """Remove a member; their keys and sessions end at once."""
    row = await MemberRepository(session, caller.tenant_id).get(user_id, for_update=True)
    expected.check(service.read(row))
    await service.remove(session, caller, row)


@router.post("/invitations", status_code=201, dependencies=[ONCE], responses=problems(*GUARDED, *ONCE_ERRORS))
async def invite(
    wanted: InvitationCreate, caller: Admin, session: Session, sealer: SealerDep, settings: SettingsDep
) -> InvitationCreated:
    """Invite someone, who is sent a link. The answer has its token too, this once; it is good for seven days."""
    return await service.invite(session, sealer, settings.public_url, caller, wanted)


@router.get("/invitations", responses=problems(*GUARDED, InvalidCursor))
async def list_invitations(caller: Admin, session: Session, paging: Paging) -> Page[InvitationRead]:
    """Invitations that nobody has taken up yet, newest first."""
    page = await InvitationRepository(session, caller.tenant_id).page(paging)
    return Page(items=tuple(service.read_invitation(row) for row in page.items), next_cursor=page.next_cursor)


@router.delete(
    "/invitations/{invitation_id}",
    status_code=204,
    response_class=Response,
    responses=problems(*GUARDED, InvitationNotFound),
)
async def take_back(invitation_id: InvitationRef, caller: Admin, session: Session) -> None:
    """Take an invitation back."""
    await session.delete(await InvitationRepository(session, caller.tenant_id).get(invitation_id, for_update=True))


@router.post(
    "/invitations/accept",
    status_code=201,
    responses=problems(InvitationNotFound, service.EmailTaken, TooManyRequests),
)
async def accept_invitation(
    wanted: InvitationAccept, request: Request, session: Session, limiter: LimiterDep
) -> MemberRead:
    """Join with the token of an invitation and a password of one's own; then log in."""
    await limiter.hit(Policy.LOGINS, address_of(request))
    enter_any_tenant()  # the token says which
    user = await service.accept(session, wanted)
    audit.write(session, request, user.tenant_id, user.id, None, user.id)
    return service.read(user)


@router.put(
    "/me/password", status_code=204, response_class=Response, responses=problems(*GUARDED, WrongLogin, LockedOut)
)
async def change_password(
    wanted: PasswordChange,
    response: Response,
    caller: Oneself,
    session: Session,
    sessions: SessionsDep,
    sealer: SealerDep,
    settings: SettingsDep,
) -> None:
    """Change one's own password; every session but this one ends."""
    user = await service.reauthenticate(session, sessions, caller, wanted.old)
    await service.change_password(session, sealer, user, wanted.new)
    cookie.hand_out(response, settings, await service.renew_session(session, caller))
