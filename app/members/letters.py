"""What members are written."""

from datetime import timedelta

from app.mail.service import Letter
from app.members.repository import INVITED_FOR
from whetstone.contract.identity import Role

NEWS_FOR = timedelta(days=2)
"""How long a letter is worth sending that only tells something."""


def invitation(public_url: str, role: Role, token: str) -> Letter:
    article = "an" if role in (Role.OWNER, Role.ADMIN) else "a"
    return Letter(
        subject="You are invited to Whetstone",
        text=(
            f"You are invited to join an organization on Whetstone, as {article} {role}.\n\n"
            f"Open this within {INVITED_FOR.days} days to choose a password; it works once:\n\n"
            f"{public_url}/join#{token}\n\n"
            f"Or run `whet join {public_url}` and paste this token:\n\n{token}\n"
        ),
    )


def second_factor(*, on: bool) -> Letter:
    state = "on" if on else "off"
    return Letter(
        subject=f"Your Whetstone second factor was switched {state}",
        text=(
            f"The second factor of the Whetstone account of this address was just switched {state}; other browsers are "
            "signed out.\n\nIf it was not you, change your password, and tell an admin of your organization.\n"
        ),
    )


def password_changed() -> Letter:
    return Letter(
        subject="Your Whetstone password was changed",
        text=(
            "The password of the Whetstone account of this address was just changed; other browsers are signed out.\n\n"
            "If it was not you, ask for a new password at once, and have an admin of your organization look at the "
            "audit log and at your API keys.\n"
        ),
    )
