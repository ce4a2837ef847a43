"""The keys of an OpenID provider (JWKS), from an address or a file, kept and read again."""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
from memgpt.config import ConfigError

from memgpt_runtime import reasons
from memgpt_runtime.logs import get_logger

_log = get_logger(__name__)

LIFETIME_SECONDS = 300.0
"""Seconds after which the keys are read again."""

AGAIN_SECONDS = 10.0
"""Least seconds between two reads, whatever tokens arrive."""

_TIMEOUT = 5.0
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A key of a provider.

    Attributes:
        key: The key, for PyJWT.
        kind: Its kind, such as ``RSA``.
        algorithm: The only algorithm that it is for; empty if the provider does not say.
    """

    key: Any
    kind: str
    algorithm: str

    def fits(self, algorithm: str) -> bool:
        """Whether the key is for an algorithm: by the provider's word, or else by its kind."""
        return self.algorithm == algorithm if self.algorithm else self.kind == _KINDS[algorithm[:2]]


_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class Jwks:
    """The keys of a provider by their ids. A failed read keeps the former ones."""

    def __init__(self, source: str) -> None:
        """Read nothing yet.

        Args:
            source: An https:// address (http:// for loopback only), or the path of a file.

        Raises:
            ConfigError: It is neither.
        """
        self._read = _reader(source)
        self._source = source
        self._keys: dict[str, IssuerKey] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def find(self, key_id: str, *, instead_of: IssuerKey | None = None) -> IssuerKey | None:
        """Return a key; None if the provider has none with this id.

        Args:
            key_id: Its id.
            instead_of: A key with this id that does not fit; None is returned unless the keys were read again since.

        Raises:
            Unavailable: The keys could never be read.
        """
        age = time.monotonic() - self._read_at
        known = self._keys.get(key_id)
        missing = known is None or known is instead_of
        if age > LIFETIME_SECONDS or (missing and age > AGAIN_SECONDS):
            reading = self._begin()
            if missing:
                await asyncio.shield(reading)
        elif missing and self._reading is not None:
            await asyncio.shield(self._reading)
        if not self._keys:
            raise reasons.service_unavailable(
                "the keys of the token's issuer cannot be read; retry later", service="jwks", retry_after=AGAIN_SECONDS
            )
        found = self._keys.get(key_id)
        return None if found is instead_of else found

    async def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _begin(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._read_at = time.monotonic()
            self._reading = asyncio.create_task(self._renew(), name="jwks", context=Context())
        return self._reading

    async def _renew(self) -> None:
        try:
            keys = _parse(await asyncio.to_thread(self._read))
        except (OSError, http.client.HTTPException, ValueError, jwt.PyJWTError) as error:
            _log.warning("jwks_read_failed", source=self._source, error=f"{type(error).__name__}: {error}")
        else:
            if keys.keys() != self._keys.keys():
                _log.info("jwks_read", source=self._source, keys=sorted(keys))
            self._keys = keys
        finally:
            self._reading = None


def _parse(data: bytes) -> dict[str, IssuerKey]:
    """Return the keys that can verify tokens; others, of kinds that this version does not know, are skipped."""
    document: Any = json.loads(data)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("not a JWKS: an object with the list `keys`")
    keys: dict[str, IssuerKey] = {}
    for each in document["keys"]:
        if not isinstance(each, dict) or each.get("use", "sig") != "sig" or each.get("kty") == "oct":
            continue
        try:
            key = IssuerKey(jwt.PyJWK(each).key, str(each.get("kty", "")), str(each.get("alg", "")))
        except (jwt.PyJWTError, TypeError, ValueError):  # the latter for members of other types than they should have
            continue
        keys.setdefault(str(each.get("kid", "")), key)
    if not keys:
        raise ValueError("no usable key in the JWKS")
    return keys


def _reader(source: str) -> Callable[[], bytes]:
    parts = urlsplit(source)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return lambda: _fetch(source)
    if "://" in source:
        raise ConfigError(f"server.jwt_jwks: {source} is neither an https:// address nor the path of a file")
    path = Path(source).expanduser()
    return lambda: _read_file(path)


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return _bounded(file.read(_MOST_BYTES + 1))


def _fetch(address: str) -> bytes:
    request = urllib.request.Request(address, headers={"Accept": "application/json"})  # noqa: S310 - checked above
    try:
        with _OPENER.open(request, timeout=_TIMEOUT) as response:
            return _bounded(response.read(_MOST_BYTES + 1))
    except urllib.error.HTTPError as error:
        error.close()
        raise OSError(f"HTTP status {error.code}") from None


def _bounded(data: bytes) -> bytes:
    if len(data) > _MOST_BYTES:
        raise ValueError(f"more than {_MOST_BYTES} bytes")
    return data


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect could lead to another issuer's keys, or to plain HTTP."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
