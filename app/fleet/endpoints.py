import hmac
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.artifacts.service import OutputMissing
from app.core.database import Session
from app.core.errors import problems
from app.core.resources import SessionsDep, SettingsDep
from app.core.signing import InvalidToken
from app.core.storage import PartsMissing, StorageUnavailable, WrongContent
from app.fleet import outputs, repository, saving, service
from app.identity.caller import GUARDED, Caller
from app.identity.routing import Route
from whetstone.contract.steps import (
    Checkpoint,
    Enrol,
    Fail,
    Findings,
    Finish,
    Heartbeat,
    HeartbeatAnswer,
    LearningState,
    Order,
    UploadAnswer,
    UploadDone,
    UploadRequest,
)
from whetstone.contract.targets import Target, TargetRead, hardware_of
from whetstone.contract.types import WorkerRef

MESSAGE_BYTES = 64 * 2**20  # what a worker takes from its child; a search of 500 candidates has much to tell

router = APIRouter(prefix="/v1/worker", tags=["worker protocol"], max_body_size=MESSAGE_BYTES)
targets_router = APIRouter(prefix="/v1", tags=["targets"], route_class=Route)

_token = HTTPBearer(auto_error=False, description="A step token, an attempt token, or the fleet token")


def read_token(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_token)]) -> str:
    if credentials is None:
        raise InvalidToken
    return credentials.credentials


def read_fleet(request: Request) -> service.Fleet:
    return cast("service.Fleet", request.app.state.fleet)


Token = Annotated[str, Depends(read_token)]
FleetDep = Annotated[service.Fleet, Depends(read_fleet)]


@router.put("/enrolment", status_code=204, response_class=Response, responses=problems(InvalidToken))
async def enrol(body: Enrol, token: Token, session: Session, settings: SettingsDep) -> None:
    """A worker says that it is there and what it can do; repeated as its sign of life."""
    if not hmac.compare_digest(token.encode(), settings.fleet_token.get_secret_value().encode()):
        raise InvalidToken
    await repository.save_worker(session, body)


@router.post("/claim", responses=problems(InvalidToken, service.NothingToClaim, service.PlanIsBusy, service.StepLost))
async def claim(
    worker_id: Annotated[WorkerRef, Header(alias="Whetstone-Worker")], token: Token, session: Session, fleet: FleetDep
) -> Order:
    """Claim the step that the token was made for."""
    return await service.claim(session, fleet, token, worker_id)


@router.post("/heartbeat", responses=problems(InvalidToken, service.StepLost, service.WrongResult))
async def heartbeat(body: Heartbeat, token: Token, session: Session, fleet: FleetDep) -> HeartbeatAnswer:
    """Prolong the lease; tell progress, metrics and log lines."""
    return await service.heartbeat(session, fleet, token, body)


@router.post("/uploads", responses=problems(InvalidToken, service.StepLost, StorageUnavailable))
async def request_upload(
    body: UploadRequest, token: Token, session: Session, sessions: SessionsDep, fleet: FleetDep
) -> UploadAnswer:
    """Ask where to PUT an output file."""
    return await outputs.request_upload(session, sessions, fleet, token, body)


@router.post(
    "/uploads/complete",
    status_code=204,
    response_class=Response,
    responses=problems(InvalidToken, PartsMissing, WrongContent, StorageUnavailable),
)
async def complete_output(body: UploadDone, token: Token, session: Session, fleet: FleetDep) -> None:
    """An output file has been put where it was asked for."""
    await outputs.complete_upload(session, fleet, token, body)


@router.post(
    "/checkpoint",
    status_code=204,
    response_class=Response,
    responses=problems(InvalidToken, service.StepLost, service.WrongResult, OutputMissing),
)
async def save_checkpoint(body: Checkpoint, token: Token, session: Session, fleet: FleetDep) -> None:
    """Save the graph after a pass, from which a retry goes on."""
    await saving.save_checkpoint(session, fleet, token, body)


@router.post(
    "/learning-state",
    status_code=204,
    response_class=Response,
    responses=problems(InvalidToken, service.StepLost, service.WrongResult, OutputMissing),
)
async def save_learning(body: LearningState, token: Token, session: Session, fleet: FleetDep) -> None:
    """Save how far a pass has learned, from which a retry goes on."""
    await saving.save_learning(session, fleet, token, body)


@router.post(
    "/findings",
    status_code=204,
    response_class=Response,
    responses=problems(InvalidToken, service.StepLost, service.WrongResult, OutputMissing),
)
async def save_findings(body: Findings, token: Token, session: Session, fleet: FleetDep) -> None:
    """Save what a search has come to, from which a retry goes on."""
    await saving.save_findings(session, fleet, token, body)


@router.post(
    "/finish",
    status_code=204,
    response_class=Response,
    responses=problems(InvalidToken, service.StepLost, service.WrongResult, OutputMissing),
)
async def finish(body: Finish, token: Token, session: Session, fleet: FleetDep) -> None:
    """The step is done."""
    await service.finish(session, fleet, token, body)


@router.post("/fail", status_code=204, response_class=Response, responses=problems(InvalidToken, service.StepLost))
async def fail(body: Fail, token: Token, session: Session, fleet: FleetDep) -> None:
    """The step cannot be done."""
    await service.fail(session, fleet, token, body)


@targets_router.get("/targets", responses=problems(*GUARDED))
async def list_targets(_caller: Caller, session: Session) -> tuple[TargetRead, ...]:
    """Every target, and how many living workers offer it now."""
    workers = await repository.living_workers(session)
    counts = {target: sum(target in worker.targets for worker in workers) for target in Target}
    return tuple(
        TargetRead(
            name=target,
            hardware=hardware_of(target),
            only_built=target.only_built,
            available=count > 0,
            workers=count,
        )
        for target, count in counts.items()
    )
