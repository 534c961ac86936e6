"""The API with one more route, which does nothing: what any FastAPI application costs in the same process.

python -m benchmarks.parts.hello PORT      settings from WHETSTONE_… variables, like `python -m app api`
"""

import sys

import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

import app.tables  # noqa: F401 - every table must be known
from app.main import create_app

PATH = "/hello"


def main() -> None:
    plain = FastAPI(openapi_url=None)

    @plain.get("/")
    async def hello() -> dict[str, str]:
        return {"hello": "world"}

    uvicorn.run(
        _Fork(create_app(), plain), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", server_header=False
    )


class _Fork:
    """Requests for `PATH` do not go through the API's own middleware."""

    def __init__(self, api: FastAPI, plain: FastAPI) -> None:
        self._api, self._plain = api, plain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        own = scope["type"] == "http" and scope["path"] == PATH
        await (self._plain if own else self._api)(scope | {"path": "/"} if own else scope, receive, send)


if __name__ == "__main__":
    main()
