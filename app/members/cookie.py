"""The cookie of a browser's session: no script reads it, no other site's page sends it along with a change."""

from fastapi import Response

from app.identity.caller import COOKIE
from app.identity.service import SESSION_LONGEST
from app.settings import Settings


def hand_out(response: Response, settings: Settings, secret: str | None) -> None:
    """None, which a caller by API key has, leaves the browser's cookie as it is."""
    if secret is None:
        return
    response.set_cookie(
        COOKIE,
        secret,
        max_age=int(SESSION_LONGEST.total_seconds()),
        httponly=True,
        secure=settings.public_url.startswith("https:"),
        samesite="lax",
    )
