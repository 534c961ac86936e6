"""A file arrives as the body of a POST: kept and inspected once, however often the request is repeated."""

import json

from fastapi import Request
from starlette.responses import Response

from app.core import audit
from app.core.telemetry import add_headers
from app.core.tenancy import Principal
from app.fleet.service import Fleet
from app.identity import once
from app.uploads import service
from app.uploads.service import Kind, RowT
from whetstone.contract.preprocessing import Preprocessing


async def arrive(
    request: Request,
    fleet: Fleet,
    kind: Kind[RowT],
    caller: Principal,
    name: str | None,
    filename: str,
    wait: float,
    preprocessing: Preprocessing | None = None,
) -> RowT:
    """The row of the file; of the earlier one when this is a repetition, as it is by now.

    No connection is held while bytes stream in, so the Idempotency-Key is looked up once they and their hash are known.
    """
    sessions = request.app.state.sessions
    stored = await service.receive(sessions, fleet, caller.tenant_id, request.stream(), _announced(request))
    use = once.Use.of(caller, request, stored.sha256.encode())
    sealer = request.app.state.sealer
    async with sessions.begin() as session:
        earlier = None if use is None else await once.earlier(session, sealer, use)
        if earlier is None:
            row = await service.create(
                session, fleet, kind, caller.tenant_id, stored, name or filename, filename, preprocessing
            )
            row_id = row.id
            audit.write(session, request, caller.tenant_id, caller.user_id, caller.key_id, row_id)
            if use is not None:
                await once.keep(session, sealer, use, Response(json.dumps({"id": row_id}), 201))
        else:
            await fleet.storage.delete(stored.key)
            add_headers(request.scope, once.REPLAYED)
            row_id = json.loads(bytes(earlier.body))["id"]
    return await service.wait_inspected(sessions, request.app.state.bell, kind, caller.tenant_id, row_id, wait)


def _announced(request: Request) -> int:
    """Bytes; 0 where the caller does not say."""
    given = request.headers.get("Content-Length", "")
    return int(given) if given.isdecimal() else 0
