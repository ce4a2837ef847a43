"""Authentication of calls: the principal that a credential of any kind stands for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from memgpt.config import ServerSettings

from memgpt_runtime import clock, reasons
from memgpt_runtime.auth.api_keys import PREFIX, ApiKeyCache, ApiKeySource
from memgpt_runtime.auth.certificates import Certificates, certificate_expiry, certificate_names
from memgpt_runtime.auth.jwt_tokens import JwtTokens
from memgpt_runtime.auth.open_streams import OpenStreams
from memgpt_runtime.auth.service_keys import ServiceKeys
from memgpt_runtime.context import AUTHORIZATION_KEY
from memgpt_runtime.principal import CredentialKind, Principal, Role

ANONYMOUS = Principal()
"""The principal of callers where no credentials are required: it may do everything, in the default tenant."""

_SERVICE = Principal(role=Role.SERVICE, kind=CredentialKind.SERVICE_KEY, credential_name="service")
_SCHEME = "bearer "


class Authenticator:
    """Knows callers by their credentials.

    Attributes:
        required: Whether every call needs a credential.
        api_keys: Checks API keys.
        streams: The open streams by credential.
    """

    def __init__(self, settings: ServerSettings) -> None:
        """Set up the kinds of credentials that are configured.

        Raises:
            ConfigError: A setting is unusable.
        """
        self.required = settings.credentials_required
        self._testing = settings.testing
        self.streams = OpenStreams()
        self.api_keys = ApiKeyCache(self.streams)
        self._service_keys = ServiceKeys(settings)
        self._certificates = Certificates(settings.certificates)
        self._tokens = JwtTokens(settings) if settings.jwt_issuer else None

    def check_api_keys_by(self, source: ApiKeySource) -> None:
        """Check API keys by a source from now on, if credentials are required."""
        if self.required:
            self.api_keys.open(source)

    async def close(self) -> None:
        """Stop checking."""
        await self.api_keys.close()
        if self._tokens is not None:
            await self._tokens.close()

    async def authenticate(
        self, metadata: Mapping[str, str], auth_context: Callable[[], Mapping[str, Iterable[bytes]]]
    ) -> Principal:
        """Return the principal of a call. A credential in the metadata takes precedence over the certificate.

        Args:
            metadata: The text entries of the call's metadata.
            auth_context: Returns gRPC's description of the connection.

        Raises:
            Unauthenticated: A credential is required, and there is none, or it is not accepted.
            Unavailable: It cannot be checked now.
        """
        if not self.required:
            return ANONYMOUS
        header = metadata.get(AUTHORIZATION_KEY)
        if header is not None:
            return await self._by_token(header)
        if self._certificates:
            connection = auth_context()
            names = certificate_names(connection)
            principal = self._certificates.find(names)
            if principal is not None:
                return _until_expiry(principal, certificate_expiry(connection))
            if names:
                raise reasons.credential_unknown(
                    "the client's certificate has no tenant; add one of its names to server.certificates"
                )
        if self._testing:
            raise reasons.credential_missing(
                'the server requires a credential; send any token as metadata "authorization: Bearer my-test"'
            )
        raise reasons.credential_missing(
            'the server requires a credential; send an API key as metadata "authorization: Bearer mgpt_…"'
        )

    async def _by_token(self, header: str) -> Principal:
        if header[: len(_SCHEME)].lower() != _SCHEME:
            raise reasons.credential_malformed('the metadata "authorization" must be "Bearer" and a token')
        token = header[len(_SCHEME) :].strip()
        if token.startswith(PREFIX):
            return await self.api_keys.check(token)
        if self._service_keys.accept(token):
            return _SERVICE
        if self._testing and token:
            return _tester(token)
        if self._tokens is not None and token.count(".") == 2:
            return await self._tokens.check(token)
        if token.count(".") == 2:
            raise reasons.credential_unknown("the server accepts no JSON Web Tokens; set server.jwt_issuer")
        raise reasons.credential_malformed("the credential is neither an API key nor a JSON Web Token")


def _until_expiry(principal: Principal, expires: float | None) -> Principal:
    """Return the principal of a certificate, which a connection may outlive.

    Streams of services are not ended: these connect again with a renewed certificate, and finish their calls.

    Raises:
        Unauthenticated: The certificate has expired.
    """
    if expires is None:
        return principal
    if expires <= clock.seconds():
        raise reasons.credential_expired("the client's certificate has expired; connect again with a new one")
    return principal if principal.role is Role.SERVICE else replace(principal, expires=expires)


def _tester(token: str) -> Principal:
    """Return whom a token stands for that needs no check: the administrator of its own tenant."""
    name = f"test-{hashlib.sha256(token.encode(errors='replace')).hexdigest()[:32]}"
    return Principal(name, Role.ADMIN, CredentialKind.API_KEY, name, "test")
