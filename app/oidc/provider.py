"""The provider's side of OpenID Connect: discovery, the authorization code flow with PKCE, and its ID tokens.

OpenID Connect Core 1.0 (sections 3.1 and 5.3), Discovery 1.0, RFC 7636. Only signatures with a key pair are taken: a
provider that shares its secret with every client could not be told from one of them.
"""

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from app.core.errors import AppError
from app.settings import OidcSettings

SCOPES = "openid email"
KEPT_SECONDS = 3600.0
LEEWAY_SECONDS = 60
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")


class ProviderUnavailable(AppError):
    """The identity provider cannot be reached, or does not answer as OpenID Connect says."""

    code, status = "provider_unavailable", 502
    hint = "Try again in a moment; if it stays, tell the operator."


class SignInRefused(AppError):
    """The identity provider did not sign you in, or its answer does not belong to what this browser began."""

    code, status = "sign_in_refused", 401
    hint = "Begin again: POST /v1/sessions/oidc."


@dataclass(frozen=True)
class Secrets:
    """What ties a provider's answer to the browser that asked: one of each for each sign-in."""

    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True)
class Identity:
    """Whom the provider has signed in. `email` is None where the provider does not say that it is theirs."""

    issuer: str
    subject: str
    email: str | None


@dataclass(frozen=True)
class _Known:
    """What a provider publishes about itself."""

    metadata: dict[str, Any]
    keys: KeySet
    until: float


class Provider:
    """One provider; what it publishes is kept for an hour, and looked up anew when a key is not in it."""

    def __init__(self, settings: OidcSettings, issuer: str, redirect_uri: str) -> None:
        self.issuer = issuer
        self._settings = settings
        self._client_id = settings.client_id or ""
        self._redirect_uri = redirect_uri
        self._known: _Known | None = None

    async def address(self, secrets: Secrets) -> str:
        """Where to send the browser. Raises ProviderUnavailable."""
        known = await self._published()
        return str(
            prepare_grant_uri(
                known.metadata["authorization_endpoint"],
                self._client_id,
                "code",
                redirect_uri=self._redirect_uri,
                scope=SCOPES,
                state=secrets.state,
                nonce=secrets.nonce,
                code_challenge=create_s256_code_challenge(secrets.verifier),
                code_challenge_method="S256",
            )
        )

    async def identity(self, code: str, secrets: Secrets) -> Identity:
        """Exchange the code. Raises ProviderUnavailable, SignInRefused."""
        tokens = await self._exchange(code, secrets)
        try:
            claims = await self._claims(tokens["id_token"], tokens.get("access_token"), secrets.nonce)
        except (KeyError, TypeError, ValueError, JoseError) as error:
            raise SignInRefused(f"The identity provider's ID token is not valid: {error}") from error
        if "email" not in claims and "access_token" in tokens:
            claims |= await self._user_info(tokens["access_token"], claims["sub"])
        verified = claims.get("email_verified") is True and isinstance(claims.get("email"), str)
        return Identity(self.issuer, claims["sub"], claims["email"].lower() if verified else None)

    async def _exchange(self, code: str, secrets: Secrets) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": secrets.verifier,
        }
        metadata = (await self._published()).metadata
        auth, secret = None, self._settings.secret()
        if secret is None:
            form["client_id"] = self._client_id
        elif self._settings.client_auth == "post":
            form |= {"client_id": self._client_id, "client_secret": secret}
        else:
            auth = httpx.BasicAuth(quote(self._client_id, safe=""), quote(secret, safe=""))  # RFC 6749, section 2.3.1
        answer = await self._call("POST", metadata["token_endpoint"], data=form, auth=auth)
        if answer.status_code in (400, 401, 403):
            raise SignInRefused
        return _json(answer)

    async def _claims(self, token: str, access_token: str | None, nonce: str) -> dict[str, Any]:
        """The ID token's claims, once its signature and they themselves are found good (Core, section 3.1.3.7)."""
        decoded = await self._verified(token)
        client = {"essential": True, "value": self._client_id}
        params = {"nonce": nonce, "client_id": self._client_id, "access_token": access_token}
        options = {"iss": {"essential": True, "value": self.issuer}, "aud": client}
        claims = CodeIDToken(decoded.claims, decoded.header, options, params)
        claims.validate(leeway=LEEWAY_SECONDS)
        return dict(claims)

    async def _verified(self, token: str) -> jwt.Token:
        known = await self._published()
        try:
            return jwt.decode(token, known.keys, ALGORITHMS)
        except (ValueError, JoseError):  # perhaps of a key that is newer than what is kept
            self._known = None
            return jwt.decode(token, (await self._published()).keys, ALGORITHMS)

    async def _user_info(self, access_token: str, subject: str) -> dict[str, Any]:
        """What the provider tells apart from the token; nothing where that is of someone else (Core, 5.3.2)."""
        url = (await self._published()).metadata.get("userinfo_endpoint")
        if url is None:
            return {}
        found = _json(await self._call("GET", url, headers={"Authorization": f"Bearer {access_token}"}))
        if found.get("sub") != subject:
            return {}
        return {name: found[name] for name in ("email", "email_verified") if name in found}

    async def _published(self) -> _Known:
        if self._known is None or self._known.until < time.monotonic():
            url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
            metadata = _json(await self._call("GET", url))
            try:
                if metadata["issuer"] != self.issuer:
                    raise ProviderUnavailable(f"The identity provider calls itself {metadata['issuer']!r}.")
                keys = KeySet.import_key_set(_json(await self._call("GET", metadata["jwks_uri"])))  # type: ignore[arg-type] # JSON
            except (KeyError, ValueError, JoseError) as error:
                raise ProviderUnavailable from error
            self._known = _Known(metadata, keys, time.monotonic() + KEPT_SECONDS)
        return self._known

    async def _call(self, method: str, url: str, **options: Any) -> httpx.Response:
        try:
            async with httpx.AsyncClient(timeout=self._settings.timeout_seconds) as http:
                return await http.request(method, url, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ProviderUnavailable from error


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.raise_for_status().json()
    except (httpx.HTTPStatusError, ValueError) as error:
        raise ProviderUnavailable from error
    if not isinstance(found, dict):
        raise ProviderUnavailable
    return found
