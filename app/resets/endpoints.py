from fastapi import APIRouter, Request, Response

from app.core import audit
from app.core.database import Session
from app.core.errors import problems
from app.core.limiter import Policy, TooManyRequests
from app.core.resources import LimiterDep, SealerDep
from app.core.scope import enter_any_tenant
from app.core.telemetry import address_of
from app.identity.routing import Route
from app.identity.secrets import digest
from app.resets import service
from whetstone.contract.resets import PasswordReset, ResetRequest

router = APIRouter(prefix="/v1/password-resets", tags=["identity"], route_class=Route)


@router.post("", status_code=202, response_class=Response, responses=problems(TooManyRequests))
async def ask_for_reset(wanted: ResetRequest, request: Request, session: Session, limiter: LimiterDep) -> None:
    """Have a token sent to this address that sets a new password. Tells nothing of whether someone has it."""
    await limiter.hit(Policy.LOGINS, address_of(request))
    await limiter.hit(Policy.LOGINS, digest(f"reset:{wanted.email.lower()}").hex())
    enter_any_tenant()  # whose it is, is seen later
    await service.ask(session, wanted.email)


@router.post(
    "/confirm",
    status_code=204,
    response_class=Response,
    responses=problems(service.ResetNotFound, TooManyRequests),
)
async def reset_password(
    wanted: PasswordReset, request: Request, session: Session, limiter: LimiterDep, sealer: SealerDep
) -> None:
    """Set a new password with the token that was sent, once; every session of the account ends."""
    await limiter.hit(Policy.LOGINS, address_of(request))
    enter_any_tenant()  # the token says which
    user = await service.confirm_any_tenant(session, sealer, wanted)
    audit.write(session, request, user.tenant_id, user.id, None, user.id)
