"""One's own second factor; and for admins, that of a member who has lost it."""

from fastapi import APIRouter, Response

from app.core.database import Session
from app.core.errors import problems
from app.core.resources import SealerDep, SessionsDep, SettingsDep
from app.identity import second_factor
from app.identity.caller import GUARDED, Admin, Anyone, Oneself
from app.identity.once import ONCE, ONCE_ERRORS
from app.identity.passwords import LockedOut, WrongLogin, code_of, counted
from app.identity.routing import Route
from app.identity.second_factor import SecondFactorNotFound, SecondFactorOn, WrongCode
from app.members import cookie, service
from app.members.repository import MemberNotFound, MemberRepository
from whetstone.contract.second_factor import (
    RecoveryCodes,
    SecondFactorCode,
    SecondFactorDisable,
    SecondFactorRead,
    SecondFactorSetup,
    SecondFactorStart,
)
from whetstone.contract.types import UserRef

router = APIRouter(prefix="/v1", tags=["identity"], route_class=Route)
_OWN = "/me/second-factor"
_CODE = (*GUARDED, *ONCE_ERRORS, SecondFactorNotFound, WrongCode, LockedOut)


@router.get(_OWN, responses=problems(*GUARDED))
async def read_second_factor(caller: Anyone, session: Session) -> SecondFactorRead:
    """Whether one's own second factor is on."""
    return await second_factor.read(session, caller.user_id)


@router.put(_OWN, responses=problems(*GUARDED, WrongLogin, LockedOut, SecondFactorOn))
async def set_up_second_factor(
    wanted: SecondFactorStart, caller: Oneself, session: Session, sessions: SessionsDep, sealer: SealerDep
) -> SecondFactorSetup:
    """A secret for an authenticator app. Codes are asked for once the first was confirmed."""
    user = await service.reauthenticate(session, sessions, caller, wanted.password)
    return await second_factor.set_up(session, sealer, user)


@router.post(_OWN + "/confirm", dependencies=[ONCE], responses=problems(*_CODE, SecondFactorOn))
async def confirm_second_factor(
    wanted: SecondFactorCode,
    response: Response,
    caller: Oneself,
    session: Session,
    sessions: SessionsDep,
    sealer: SealerDep,
    settings: SettingsDep,
) -> RecoveryCodes:
    """Switch it on with a first code. The answer has recovery codes, this once; every session but this one ends."""
    user = await service.oneself(session, caller)
    async with counted(sessions, code_of(user.email)):
        codes = await second_factor.confirm(session, sealer, user.id, wanted.code)
    await service.tell_second_factor(session, sealer, user, on=True)
    cookie.hand_out(response, settings, await service.renew_session(session, caller))
    return RecoveryCodes(codes=codes)


@router.post(_OWN + "/recovery-codes", dependencies=[ONCE], responses=problems(*_CODE))
async def renew_recovery_codes(
    wanted: SecondFactorCode, caller: Oneself, session: Session, sessions: SessionsDep, sealer: SealerDep
) -> RecoveryCodes:
    """New recovery codes, shown this once, for one of the app's codes or a recovery code. The old ones end."""
    user = await service.oneself(session, caller)
    async with counted(sessions, code_of(user.email)):
        return RecoveryCodes(codes=await second_factor.renew_recovery_codes(session, sealer, user.id, wanted.code))


@router.post(
    _OWN + "/disable",
    status_code=204,
    response_class=Response,
    dependencies=[ONCE],
    responses=problems(*_CODE, WrongLogin),
)
async def disable_second_factor(
    wanted: SecondFactorDisable,
    response: Response,
    caller: Oneself,
    session: Session,
    sessions: SessionsDep,
    sealer: SealerDep,
    settings: SettingsDep,
) -> None:
    """Switch it off, with one's password and a code; every session but this one ends."""
    user = await service.reauthenticate(session, sessions, caller, wanted.password)
    async with counted(sessions, code_of(user.email)):
        await second_factor.check(session, sealer, user.id, wanted.code)
    await second_factor.switch_off(session, user.id)
    await service.tell_second_factor(session, sealer, user, on=False)
    cookie.hand_out(response, settings, await service.renew_session(session, caller))


@router.delete(
    "/members/{user_id}/second-factor",
    status_code=204,
    response_class=Response,
    responses=problems(*GUARDED, MemberNotFound, SecondFactorNotFound),
)
async def remove_second_factor(user_id: UserRef, caller: Admin, session: Session, sealer: SealerDep) -> None:
    """Switch off the second factor of a member who has lost it; the member's sessions end."""
    row = await MemberRepository(session, caller.tenant_id).get(user_id, for_update=True)
    await service.remove_second_factor(session, sealer, caller, row)
