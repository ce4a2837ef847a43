"""The bearer token of a client: an API key, or a JSON Web Token that a function returns for each call."""

from __future__ import annotations

import inspect
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio
from memgpt.client.errors import CredentialsError

Token: TypeAlias = str | Callable[[], str]
"""An API key or another bearer token, or a function that returns one. The function is called before each call, by
several threads at a time; it should keep a token until shortly before it expires."""

AsyncToken: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""The same for the asynchronous client, whose function may be a coroutine function."""

_MAX_CHARACTERS = 16 * 1024
_LOCAL_SCHEMES = ("unix:", "unix-abstract:")
_SCHEMES = ("dns:///", "dns:", "ipv4:", "ipv6:")


def is_local(address: str) -> bool:
    """Whether every address of a gRPC target is on this machine."""
    if address.startswith(_LOCAL_SCHEMES):
        return True
    rest = next((address[len(scheme) :] for scheme in _SCHEMES if address.startswith(scheme)), address)
    return all(_is_loopback(each) for each in rest.split(","))


def _is_loopback(address: str) -> bool:
    if address.startswith("["):
        host = address[1:].partition("]")[0]
    else:
        host = address.rpartition(":")[0] if address.count(":") == 1 else address
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposure(address: str, *, encrypted: bool, allow_plaintext: bool) -> None:
    """Check that a token sent to an address cannot be read on the network.

    Raises:
        CredentialsError: It could.
    """
    if not encrypted and not allow_plaintext and not is_local(address):
        raise CredentialsError(
            f"a credential is not sent to {address} without TLS, since others on the network could read it; turn TLS"
            " on, or allow plaintext if a mesh or a tunnel encrypts the connection"
        )


def authorization(token: str) -> tuple[str, str]:
    """Return the metadata of a call with a token.

    Raises:
        CredentialsError: The token cannot be sent. The message does not contain it.
    """
    token = token.strip()
    if not token:
        raise CredentialsError("the credential is empty")
    if len(token) > _MAX_CHARACTERS:
        raise CredentialsError(f"the credential is longer than {_MAX_CHARACTERS:,} characters")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise CredentialsError("the credential has characters that no API key or token has; copy it again")
    return "authorization", f"Bearer {token}"


class TokenInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Sends a token with every call of a synchronous channel."""

    def __init__(self, token: Token) -> None:
        """Check a fixed token.

        Raises:
            CredentialsError: It cannot be sent.
        """
        self._token = token
        if not callable(token):
            authorization(token)

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Add the token."""
        return continuation(self._identified(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Add the token."""
        return continuation(self._identified(client_call_details), request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Add the token."""
        return continuation(self._identified(client_call_details), request_iterator)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Add the token."""
        return continuation(self._identified(client_call_details), request_iterator)

    def _identified(self, details: Any) -> Any:
        token = self._token() if callable(self._token) else self._token
        copy: Any = _Details()
        for name in ("method", "timeout", "credentials", "wait_for_ready", "compression"):
            setattr(copy, name, getattr(details, name, None))
        copy.metadata = [*(details.metadata or ()), authorization(token)]
        return copy


class _Details(grpc.ClientCallDetails):
    """The details of a synchronous call."""


class _AsyncInterceptor:
    """Adds a token to the metadata of the calls of an asynchronous channel."""

    def __init__(self, token: AsyncToken) -> None:
        self._token = token
        if not callable(token):
            authorization(token)

    async def _identified(self, details: Any) -> Any:
        token = self._token() if callable(self._token) else self._token
        if inspect.isawaitable(token):
            token = await token
        return details._replace(metadata=grpc.aio.Metadata(*(details.metadata or ()), authorization(token)))


class _UnaryUnary(_AsyncInterceptor, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(await self._identified(client_call_details), request)


class _UnaryStream(_AsyncInterceptor, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(await self._identified(client_call_details), request)


class _StreamUnary(_AsyncInterceptor, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(await self._identified(client_call_details), request_iterator)


class _StreamStream(_AsyncInterceptor, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(await self._identified(client_call_details), request_iterator)


def async_token_interceptors(token: AsyncToken) -> list[grpc.aio.ClientInterceptor]:
    """Return the interceptors that send a token with every call of an asynchronous channel.

    grpc.aio uses an interceptor for one kind of call only, so there is one for each.

    Raises:
        CredentialsError: A fixed token cannot be sent.
    """
    return [kind(token) for kind in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]
