"""JSON Web Tokens of an OpenID provider, verified by PyJWT."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jwt
from memgpt.config import ConfigError, ServerSettings

from memgpt_runtime import reasons
from memgpt_runtime.auth.jwks import IssuerKey, Jwks
from memgpt_runtime.errors import Unauthenticated
from memgpt_runtime.principal import CredentialKind, Principal, Role, is_tenant

_BY_ANOTHER_KEY = (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError)
"""Errors of a token that was signed by another key than the one with its id."""

VERIFIED_SECONDS = 60.0
"""Seconds for which a verified token is remembered: so long is a key accepted that the issuer has withdrawn."""

_MOST_VERIFIED = 4_096
_MOST_CHARS = 8_192
_MOST_NAME_CHARS = 200
_LATEST = 253_402_300_799.0
"""The end of the year 9999, in seconds since 1970; a Timestamp holds no later time."""

_GRANTED = (Role.READER, Role.USER, Role.ADMIN, Role.OPERATOR)
"""Roles that a token can have: no token makes a service."""


class JwtTokens:
    """Verifies tokens, and reads tenant and role from their claims."""

    def __init__(self, settings: ServerSettings) -> None:
        """Read the rules from the settings.

        Raises:
            ConfigError: A setting is unusable.
        """
        self._settings = settings
        self._jwks = Jwks(settings.jwt_jwks)
        self._roles = _roles(settings.jwt_roles)
        self._verified: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    async def close(self) -> None:
        """Stop reading keys."""
        await self._jwks.close()

    async def check(self, token: str) -> Principal:
        """Return whom a token stands for.

        Raises:
            Unauthenticated: It is malformed, has expired, or was not issued for this service.
            Unavailable: The issuer's keys cannot be read.
        """
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        known = self._verified.get(digest)
        if known is not None and time.monotonic() < known[1] and not _expired(known[0]):
            return known[0]
        principal = await self._verify(token)
        self._verified[digest] = principal, time.monotonic() + VERIFIED_SECONDS
        self._verified.move_to_end(digest)
        while len(self._verified) > _MOST_VERIFIED:
            self._verified.popitem(last=False)
        return principal

    async def _verify(self, token: str) -> Principal:
        if len(token) > _MOST_CHARS:
            raise reasons.credential_malformed("the token is too long")
        try:
            key_id = str(jwt.get_unverified_header(token).get("kid", ""))
        except jwt.PyJWTError:
            raise reasons.credential_malformed("the credential is neither an API key nor a JSON Web Token") from None
        key = await self._jwks.find(key_id)
        if key is None:
            raise reasons.credential_invalid("the token's issuer has no key with the id in its header")
        try:
            claims = self._decode(token, key)
        except _BY_ANOTHER_KEY as error:
            # The provider may have another key with this id by now, or with none.
            key = await self._jwks.find(key_id, instead_of=key)
            if key is None:
                raise _rejected(error) from None
            claims = self._decode(token, key, last=True)
        return self._principal(claims)

    def _decode(self, token: str, key: IssuerKey, *, last: bool = False) -> Mapping[str, Any]:
        settings = self._settings
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[name for name in settings.jwt_algorithms if key.fits(name)],
                audience=list(settings.jwt_audience),
                issuer=settings.jwt_issuer,
                leeway=settings.jwt_leeway,
                options={"require": ["exp", "iss", "aud"]},
            )
            claims["exp"] = float(claims["exp"])
        except jwt.ExpiredSignatureError:
            raise reasons.credential_expired("the token has expired; get a new one") from None
        except jwt.PyJWTError as error:
            if isinstance(error, _BY_ANOTHER_KEY) and not last:
                raise
            raise _rejected(error) from None
        except (ArithmeticError, TypeError, ValueError):  # of claims that PyJWT accepts, or fails to read
            raise reasons.credential_invalid("the token was rejected: it is invalid") from None
        return claims

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        settings = self._settings
        tenant = _claim(claims, settings.jwt_tenant_claim)
        if not isinstance(tenant, str) or not is_tenant(tenant):
            raise reasons.credential_invalid(f'the token\'s claim "{settings.jwt_tenant_claim}" names no tenant')
        named = _claim(claims, settings.jwt_role_claim)
        values = named if isinstance(named, list) else [named]
        roles = [self._roles[value] for value in values if isinstance(value, str) and value in self._roles]
        if not roles:
            raise reasons.credential_invalid(f'the token\'s claim "{settings.jwt_role_claim}" names no role')
        subject = _text(claims.get("sub", ""))
        name = claims.get("email") or claims.get("preferred_username") or subject
        return Principal(
            tenant,
            max(roles),
            CredentialKind.JWT,
            subject,
            _text(name),
            expires=min(claims["exp"] + settings.jwt_leeway, _LATEST),
        )


def _roles(entries: tuple[str, ...]) -> Mapping[str, Role]:
    if not entries:
        return {str(role): role for role in _GRANTED}
    roles: dict[str, Role] = {}
    for entry in entries:
        value, separator, name = entry.rpartition("=")
        try:
            role = Role.parse(name.strip())
        except ValueError as error:
            raise ConfigError(f'server.jwt_roles: "{entry[:200]}": {error}') from None
        if not separator or role not in _GRANTED:
            raise ConfigError(
                f'server.jwt_roles: "{entry[:200]}" is not "VALUE=ROLE" with the role reader, user, admin or operator'
            )
        roles[value.strip()] = role
    return roles


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by a path into nested ones."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _text(claim: Any) -> str:
    """Return a claim as text that can be encoded: JSON may contain surrogates without a partner."""
    return str(claim)[:_MOST_NAME_CHARS].encode(errors="replace").decode()


def _rejected(error: jwt.PyJWTError) -> Unauthenticated:
    return reasons.credential_invalid(f"the token was rejected: {_why(error)}")


def _why(error: jwt.PyJWTError) -> str:
    """Return the cause in words of our own: those of a library may quote the token."""
    causes = {
        jwt.InvalidIssuerError: "another issuer",
        jwt.InvalidAudienceError: "another audience",
        jwt.ImmatureSignatureError: "not valid yet",
        jwt.InvalidIssuedAtError: "issued in the future",
        jwt.MissingRequiredClaimError: "a required claim (exp, iss, aud) is missing",
        jwt.InvalidAlgorithmError: "its algorithm is not allowed",
        jwt.InvalidSignatureError: "its signature does not match",
    }
    return next((words for kind, words in causes.items() if isinstance(error, kind)), "it is invalid")


def _expired(principal: Principal) -> bool:
    return principal.expires is not None and principal.expires <= time.time()
