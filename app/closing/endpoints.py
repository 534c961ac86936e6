from fastapi import APIRouter
from fastapi.responses import Response

from app.closing import service
from app.closing.receipts import ReceiptNotFound, read_receipt
from app.core.database import Session
from app.core.errors import problems
from app.core.resources import SettingsDep
from app.identity.caller import GUARDED, Caller, Oneself
from app.identity.once import ONCE, ONCE_ERRORS
from app.identity.routing import Route
from whetstone.contract.tenants import ClosingRead, ClosingRequest, SignedReceipt, TenantRead
from whetstone.contract.types import ReceiptRef

router = APIRouter(prefix="/v1", tags=["tenant"], route_class=Route)


@router.get("/tenant", responses=problems(*GUARDED))
async def get_tenant(caller: Caller, session: Session, settings: SettingsDep) -> TenantRead:
    """The caller's tenant, and whether it is to be deleted."""
    return await service.read(session, settings, caller.tenant_id)


@router.post(
    "/tenant/closing",
    status_code=202,
    dependencies=[ONCE],
    responses=problems(*GUARDED, *ONCE_ERRORS, service.NameDiffers),
)
async def close_tenant(body: ClosingRequest, caller: Oneself, session: Session, settings: SettingsDep) -> ClosingRead:
    """Have the tenant deleted with everything it has, in some days. For owners, with a key without limits. Keep the
    id of the receipt.
    """
    return await service.close(session, settings, caller, body)


@router.delete(
    "/tenant/closing",
    status_code=204,
    response_class=Response,
    responses=problems(*GUARDED, service.NotClosing),
)
async def keep_tenant(caller: Oneself, session: Session) -> None:
    """Call the deletion off, while there is time. For owners."""
    await service.keep_open(session, caller)


@router.get("/deletion-receipts/{receipt_id}", responses=problems(ReceiptNotFound))
async def get_deletion_receipt(receipt_id: ReceiptRef, session: Session) -> SignedReceipt:
    """That a tenant was deleted, signed; nothing in it is of the tenant. For anyone who knows the id."""
    return await read_receipt(session, receipt_id)
