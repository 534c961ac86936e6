"""Whose account a provider's identity is: one that it was linked to, or by a rule that someone has set."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import AppError
from app.core.sealing import Sealer
from app.core.tenancy import TenantID
from app.identity.service import create_user
from app.identity.tables import UserRow
from app.mail import service as mail
from app.mail.service import Letter
from app.members.repository import invited_any_tenant
from app.members.service import EmailTaken
from app.oidc.provider import Identity
from app.oidc.tables import ExternalIdentityRow
from app.settings import OidcSettings
from whetstone.contract.identity import Role

_NEWS_FOR = timedelta(days=2)


class EmailUnverified(AppError):
    """The identity provider does not say that your email address is yours."""

    code, status = "email_unverified", 403
    hint = "Confirm the address at the provider, then sign in again."


class NotLinked(AppError):
    """An account with this email address exists, and signing in to it by the provider is not allowed."""

    code, status = "not_linked", 403
    hint = "Sign in with its password; an operator can allow to link accounts by email address."


class NoAccount(AppError):
    """Nobody has invited this email address."""

    code, status = "no_account", 403
    hint = "Ask an admin of your organization to invite exactly this address, and sign in by the invitation."


ACCOUNT_ERRORS = (EmailUnverified, NotLinked, NoAccount, EmailTaken)


async def account_any_tenant(
    session: AsyncSession, sealer: Sealer, settings: OidcSettings, identity: Identity, invitation: str | None
) -> UserRow:
    """The account, made or linked if a rule allows it. Raises EmailUnverified, NotLinked, NoAccount, EmailTaken,
    InvitationNotFound.
    """
    known = await session.get(ExternalIdentityRow, (identity.issuer, identity.subject))
    if known is not None:
        return await session.get_one(UserRow, known.user_id)
    if identity.email is None:
        raise EmailUnverified
    if invitation is not None:
        user = await _invited(session, identity.email, invitation)
    else:
        user = await _by_rule(session, settings, identity.email)
    session.add(
        ExternalIdentityRow(issuer=identity.issuer, subject=identity.subject, tenant_id=user.tenant_id, user_id=user.id)
    )
    until = datetime.now(UTC) + _NEWS_FOR
    await mail.post(session, sealer, user.tenant_id, user.email, _letter(identity.issuer), until)
    return user


async def _invited(session: AsyncSession, email: str, token: str) -> UserRow:
    invitation = await invited_any_tenant(session, token)
    if invitation.email != email:
        raise NoAccount
    user = await _new_user(session, TenantID(invitation.tenant_id), email, Role(invitation.role))
    await session.delete(invitation)
    return user


async def _by_rule(session: AsyncSession, settings: OidcSettings, email: str) -> UserRow:
    user = await session.scalar(select(UserRow).where(UserRow.email == email))
    if user is not None:
        if not settings.link_by_email:
            raise NotLinked
        return user
    rule = settings.domains.get(email.rpartition("@")[2])
    if rule is None:
        raise NoAccount
    return await _new_user(session, TenantID(rule.tenant), email, rule.role)


async def _new_user(session: AsyncSession, tenant_id: TenantID, email: str, role: Role) -> UserRow:
    """Without a password: one is chosen by a reset, if ever."""
    try:
        async with session.begin_nested():
            return await create_user(session, tenant_id, email, None, role)
    except IntegrityError as error:
        raise EmailTaken from error


def _letter(issuer: str) -> Letter:
    return Letter(
        subject="Your Whetstone account was linked",
        text=(
            f"The Whetstone account of this address can be signed in to by {issuer} from now on.\n\n"
            "If it was not you, tell an admin of your organization.\n"
        ),
    )
