import hmac
import json
import secrets
import time
from dataclasses import asdict
from typing import Annotated, Any, cast

from cryptography.fernet import InvalidToken as NotSealed
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.core.database import Session
from app.core.errors import AppError, problems
from app.core.limiter import Policy, TooManyRequests
from app.core.resources import LimiterDep, SealerDep, SessionsDep, SettingsDep, SignerDep
from app.core.scope import enter_any_tenant
from app.core.sealing import Sealer
from app.core.telemetry import address_of
from app.identity import second_factor
from app.identity.passwords import ticket_for
from app.identity.routing import Route
from app.members.repository import InvitationNotFound
from app.members.sessions import begin_session
from app.oidc import service
from app.oidc.provider import Provider, ProviderUnavailable, Secrets, SignInRefused
from app.settings import Settings
from whetstone.contract.oidc import ProviderAddress, ProviderSignIn

COOKIE = "whetstone_oidc"
PATH = "/v1/sessions/oidc"
CODE_PAGE = "/sign-in-code"
FLOW_SECONDS = 600

router = APIRouter(prefix=PATH, tags=["sessions"], route_class=Route)


class NoProvider(AppError):
    """This service has no identity provider."""

    code, status = "no_provider", 404
    hint = "Sign in with email address and password: POST /v1/sessions."


def _provider(request: Request, settings: SettingsDep) -> Provider:
    """Made once in a process, with what it remembers. Raises NoProvider."""
    if settings.oidc.issuer is None:
        raise NoProvider
    state = request.app.state
    if not hasattr(state, "provider"):
        state.provider = Provider(settings.oidc, settings.oidc.issuer, f"{settings.public_url}{PATH}/callback")
    return cast("Provider", state.provider)


ProviderDep = Annotated[Provider, Depends(_provider)]


@router.post("", responses=problems(NoProvider, ProviderUnavailable, TooManyRequests))
async def begin_provider_sign_in(
    wanted: ProviderSignIn,
    request: Request,
    response: Response,
    provider: ProviderDep,
    limiter: LimiterDep,
    settings: SettingsDep,
    sealer: SealerDep,
) -> ProviderAddress:
    """Begin to sign in with the identity provider: send the browser to the answer's `url` within ten minutes."""
    await limiter.hit(Policy.LOGINS, address_of(request))
    made = Secrets(*(secrets.token_urlsafe(32) for _ in range(3)))
    url = await provider.address(made)
    flow = asdict(made) | wanted.model_dump() | {"until": time.time() + FLOW_SECONDS}
    _keep(response, settings, sealer.seal(json.dumps(flow).encode()).decode())
    return ProviderAddress(url=url)


@router.get(
    "/callback",
    status_code=303,
    response_class=RedirectResponse,
    responses=problems(
        NoProvider, ProviderUnavailable, SignInRefused, TooManyRequests, InvitationNotFound, *service.ACCOUNT_ERRORS
    ),
)
async def provider_sign_in(
    request: Request,
    session: Session,
    sessions: SessionsDep,
    provider: ProviderDep,
    limiter: LimiterDep,
    settings: SettingsDep,
    sealer: SealerDep,
    signer: SignerDep,
    state: Annotated[str, Query(max_length=200)] = "",
    code: Annotated[str, Query(max_length=4000)] = "",
) -> RedirectResponse:
    """Where the identity provider sends the browser back to: sets the cookie of a new session, and goes on."""
    await limiter.hit(Policy.LOGINS, address_of(request))
    flow = _begun(sealer, request.cookies.get(COOKIE, ""))
    if not code or not hmac.compare_digest(state.encode(), flow["state"].encode()):
        raise SignInRefused
    identity = await provider.identity(code, Secrets(flow["state"], flow["nonce"], flow["verifier"]))
    enter_any_tenant()  # the identity says which
    user = await service.account_any_tenant(session, sealer, settings.oidc, identity, flow["invitation"])
    if await second_factor.is_on(session, user.id):
        answer = RedirectResponse(f"{CODE_PAGE}#{ticket_for(signer, user)}", 303)
    else:
        answer = RedirectResponse(flow["next"], 303)
        await begin_session(request, answer, session, sessions, settings, user)
    answer.delete_cookie(COOKIE, PATH)
    return answer


def _keep(response: Response, settings: Settings, sealed: str) -> None:
    """With the browser that began, and with nobody else."""
    secure = settings.public_url.startswith("https:")
    response.set_cookie(COOKIE, sealed, FLOW_SECONDS, path=PATH, httponly=True, secure=secure, samesite="lax")


def _begun(sealer: Sealer, sealed: str) -> dict[str, Any]:
    """What this browser began. Raises SignInRefused."""
    try:
        flow: dict[str, Any] = json.loads(sealer.open(sealed.encode()))
    except NotSealed as error:
        raise SignInRefused from error
    if flow.get("until", 0) < time.time():
        raise SignInRefused
    return flow
