"""Receipts of tenants that were deleted: signed, and readable by whoever knows their id."""

import base64

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.closing.tables import ReceiptRow
from app.core.errors import AppError
from app.provenance import service as provenance
from app.provenance.keys import SigningKey
from whetstone.contract.tenants import DeletionReceipt, SignedReceipt, receipt_bytes


class ReceiptNotFound(AppError):
    """There is no such receipt: nothing has been deleted under this id, or not yet all of it."""

    code, status = "receipt_not_found", 404


async def keep_receipt(session: AsyncSession, key: SigningKey, receipt: DeletionReceipt) -> None:
    content = receipt.model_dump_json().encode()
    await provenance.publish(session, key)
    values = {"id": receipt.id, "content": content, "keyid": key.keyid, "sig": key.sign_bytes(receipt_bytes(content))}
    await session.execute(insert(ReceiptRow).values(values))


async def read_receipt(session: AsyncSession, receipt_id: str) -> SignedReceipt:
    """Raises ReceiptNotFound."""
    row = await session.scalar(select(ReceiptRow).where(ReceiptRow.id == receipt_id))
    if row is None:
        raise ReceiptNotFound
    return SignedReceipt(content=base64.b64encode(row.content).decode(), keyid=row.keyid, sig=row.sig)
