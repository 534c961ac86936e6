"""The route class of every router that callers use: conditional reads, changes that are recorded, and requests that are
carried out once.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.core import audit
from app.core.database import open_session
from app.core.etags import conditional
from app.identity import once
from app.identity.caller import WITH_CALLER, identify

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Route(APIRoute):
    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        if "GET" in (self.methods or ()):
            read = _conditionally(handle)
            return _in_one_transaction(read, with_caller=True) if _uses(self.dependant, open_session) else read
        if audit.CHANGES_NOTHING not in self.dependencies:
            handle = _recorded(handle)
        return _in_one_transaction(_once(handle) if once.ONCE in self.dependencies else handle)


def _conditionally(handle: Handler) -> Handler:
    async def read(request: Request) -> Response:
        return conditional(request, await handle(request))

    return read


def _in_one_transaction(handle: Handler, *, with_caller: bool = False) -> Handler:
    """A change, its line in the audit log and the stored answer are committed together, or none of them. What only
    reads looks up its caller `with_caller` in the same transaction, which saves a second one.

    The session takes no connection before its first statement: an upload that never uses it costs none.
    """

    async def carry_out(request: Request) -> Response:
        async with request.app.state.sessions() as session, session.begin():
            request.scope["session"] = session
            if with_caller:
                request.scope[WITH_CALLER] = session
            return await handle(request)

    return carry_out


def _uses(dependant: Dependant, call: Callable[..., Any]) -> bool:
    return any(each.call is call or _uses(each, call) for each in dependant.dependencies)


def _recorded(handle: Handler) -> Handler:
    async def carry_out(request: Request) -> Response:
        answer = await handle(request)
        await audit.write_change(request.scope["session"], request, answer)
        return answer

    return carry_out


def _once(handle: Handler) -> Handler:
    async def carry_out(request: Request) -> Response:
        use = once.Use.of(await identify(request), request, await request.body())
        if use is None:
            return await handle(request)
        session, sealer = request.scope["session"], request.app.state.sealer
        answer = await once.earlier(session, sealer, use)
        if answer is None:
            answer = await handle(request)
            await once.keep(session, sealer, use, answer)
        return answer

    return carry_out
