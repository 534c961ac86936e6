"""Letters leave after the commit: they are rows first, sent by the control worker, then deleted."""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.bell import ring
from app.core.ids import Prefix, new_id
from app.core.sealing import Sealer
from app.mail.tables import EmailRow

TOPIC = "mail"


class Letter(BaseModel):
    """Plain text, wrapped by whoever shows it."""

    model_config = ConfigDict(frozen=True)

    subject: str
    text: str


async def post(
    session: AsyncSession, sealer: Sealer, tenant_id: str, recipient: str, letter: Letter, until: datetime
) -> None:
    """Send this letter once the current transaction has been committed; it is of no use after `until`."""
    session.add(
        EmailRow(
            id=new_id(Prefix.EMAIL),
            tenant_id=tenant_id,
            recipient=recipient,
            content=sealer.seal(letter.model_dump_json().encode()),
            attempts=0,
            due_at=datetime.now(UTC),
            expires_at=until,
        )
    )
    await ring(session, TOPIC)


def read(sealer: Sealer, row: EmailRow) -> Letter:
    return Letter.model_validate_json(sealer.open(row.content))
