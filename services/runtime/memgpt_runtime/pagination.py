"""Page tokens, signed and checked: only the server can create one, and it is valid for one request only.

Layout, before base64url without padding: one byte of version, 16 bytes of HMAC-SHA-256 (cut, RFC 2104 §5), the payload
as compact JSON. The MAC covers version, a digest of the request's other fields, the tenant, and the payload: a token of
another request, of another tenant, or of another store does not verify.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from memgpt_runtime import reasons
from memgpt_runtime.context import tenant
from memgpt_runtime.errors import InvalidArgument

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
MAX_TOKEN_CHARS = 4096

PAGE_BYTES = (3 << 20) - (16 << 10)
"""Maximum size of the items of a response in bytes, unless a single one has more.

With the items' headers, the page token and the counts, a response has at most 3 MiB: clients refuse messages over 4 MiB
by default.
"""

_VERSION = b"\x01"
_MAC_BYTES = 16


def check_token(token: str) -> None:
    """Check the form of a page token, which needs neither the key nor the other fields of the request.

    Raises:
        InvalidArgument: No server creates such a token.
    """
    if token and _decoded(token)[:1] != _VERSION:
        raise _not_of_this_request()


def _decoded(token: str) -> bytes:
    """Return the bytes of a token; none if it is not encoded as tokens are."""
    if len(token) > MAX_TOKEN_CHARS:
        return b""
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""


def _not_of_this_request() -> InvalidArgument:
    return reasons.invalid_page_token(
        "page_token does not belong to this request; keep the other fields of the request as they "
        "were, or start again without a token"
    )


def normalize_page_size(size: int, *, default: int = DEFAULT_PAGE_SIZE, maximum: int = MAX_PAGE_SIZE) -> int:
    """Return the page size to use: 0 means `default`, more than `maximum` means `maximum`."""
    return min(size or default, maximum)


class PageTokenCodec:
    """Encodes and decodes page tokens.

    Not itsdangerous, since the MAC covers the request and the tenant, and a token has only 23 bytes of overhead.
    """

    def __init__(self, key: bytes) -> None:
        """Set the key, the same on every replica.

        Args:
            key: At least 16 random bytes.
        """
        if len(key) < _MAC_BYTES:
            raise ValueError(f"a page token key has at least {_MAC_BYTES} bytes, this one {len(key)}")
        self._key = key

    def encode(self, request: Message, payload: Mapping[str, Any]) -> str:
        """Return the token of the page that follows the response to `request`.

        Args:
            request: The current request; its ``page_token`` and ``page_size`` do not matter.
            payload: Position and snapshot, as JSON values.

        Raises:
            ValueError: The payload makes a token of more than 4,096 characters.
        """
        body = json.dumps(payload, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        token = base64.urlsafe_b64encode(_VERSION + self._mac(request, body) + body).rstrip(b"=").decode()
        if len(token) > MAX_TOKEN_CHARS:
            raise ValueError(f"the page token has {len(token)} characters; the limit is {MAX_TOKEN_CHARS}")
        return token

    def decode(self, request: Message, token: str) -> dict[str, Any] | None:
        """Decode the token of a request.

        Args:
            request: The request with the token.
            token: Its ``page_token``.

        Returns:
            The payload; None for the first page, which has an empty token.

        Raises:
            InvalidArgument: This server did not create the token for this request.
        """
        if not token:
            return None
        raw = _decoded(token)
        body = raw[1 + _MAC_BYTES :]
        if raw[:1] != _VERSION or not hmac.compare_digest(raw[1 : 1 + _MAC_BYTES], self._mac(request, body)):
            raise _not_of_this_request()
        payload: dict[str, Any] = json.loads(body)
        return payload

    def _mac(self, request: Message, body: bytes) -> bytes:
        bare = type(request)()
        bare.CopyFrom(request)
        for field in ("page_token", "page_size"):
            if field in bare.DESCRIPTOR.fields_by_name:
                bare.ClearField(field)
        mac = hmac.new(self._key, _VERSION, hashlib.sha256)
        # Every part is preceded by its length, so that no two lists of parts give the same bytes.
        for part in (
            tenant().encode(),
            bare.DESCRIPTOR.full_name.encode(),
            bare.SerializeToString(deterministic=True),
            body,
        ):
            mac.update(len(part).to_bytes(4, "big") + part)
        return mac.digest()[:_MAC_BYTES]
