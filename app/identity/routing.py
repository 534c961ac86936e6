"""The route class of every router that callers use: conditional reads, and requests that are carried out once."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.core.etags import conditional
from app.identity import once
from app.identity.caller import identify

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Route(APIRoute):
    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        if "GET" in (self.methods or ()):
            return _conditionally(handle)
        return _once(handle) if once.ONCE in self.dependencies else handle


def _conditionally(handle: Handler) -> Handler:
    async def read(request: Request) -> Response:
        return conditional(request, await handle(request))

    return read


def _once(handle: Handler) -> Handler:
    """Carry the request out in a session that also stores the answer: both are committed, or neither."""

    async def carry_out(request: Request) -> Response:
        use = once.Use.of(await identify(request), request, await request.body())
        if use is None:
            return await handle(request)
        sealer = request.app.state.sealer
        async with request.app.state.sessions() as session, session.begin():
            request.scope["session"] = session
            answer = await once.earlier(session, sealer, use)
            if answer is None:
                answer = await handle(request)
                await once.keep(session, sealer, use, answer)
        return answer

    return carry_out
