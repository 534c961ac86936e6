"""The few pages that links in letters lead to. Their secret is in the address's fragment, which no browser sends."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

FOLDER = Path(__file__).parent
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(include_in_schema=False)


def _serve(path: str, name: str) -> None:
    async def page() -> FileResponse:
        return FileResponse(FOLDER / name, headers=HEADERS)

    router.add_api_route(path, page, name=name, response_class=FileResponse)


_serve("/join", "join.html")
_serve("/reset-password", "reset-password.html")
_serve("/sign-in-code", "sign-in-code.html")
_serve("/pages/form.js", "form.js")
_serve("/pages/form.css", "form.css")
