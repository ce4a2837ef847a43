"""The common part of all servicers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message
from memgpt_runtime.context import tenant
from memgpt_runtime.pagination import PAGE_BYTES, PageTokenCodec, normalize_page_size

from memgpt_memory.core import Core

M = TypeVar("M", bound=Message)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
"""The context of a call."""


class Servicer:
    """A servicer over the parts of Memory."""

    def __init__(self, core: Callable[[], Core]) -> None:
        """Get the parts from `core` at every call: it raises Unavailable while the store is not open."""
        self._get_core = core

    @property
    def _core(self) -> Core:
        core = self._get_core()
        core.tenants.check(tenant())
        return core

    def _page(self, request: Any) -> tuple[int, dict[str, Any] | None]:
        """Return the size of the page, and its token's content.

        Raises:
            InvalidArgument: The size is negative, or the token is that of another request.
        """
        size = normalize_page_size(request.page_size)
        return size, PageTokenCodec(self._core.token_key).decode(request, request.page_token)

    def _after(self, request: Any) -> tuple[int, str]:
        """Return the size of the page, and the key after which it begins."""
        size, payload = self._page(request)
        return size, str(payload["after"]) if payload else ""

    @staticmethod
    def _fit(items: Iterable[M], following: str, key: Callable[[M], str]) -> tuple[Sequence[M], str]:
        """Cut a page that would be too large for clients.

        Args:
            items: The items of the page.
            following: Key after which the next page begins; empty if there is none.
            key: Returns the key of an item.

        Returns:
            The items that fit, at least one, and the key after which the next page begins.
        """
        found = list(items)
        room = PAGE_BYTES
        for count, item in enumerate(found):
            room -= item.ByteSize()
            if room < 0 and count:
                return found[:count], key(found[count - 1])
        return found, following

    def _token(self, request: Message, payload: Mapping[str, Any] | None) -> str:
        """Return the token of the next page; empty if there is none."""
        return PageTokenCodec(self._core.token_key).encode(request, payload) if payload else ""

    def _next(self, request: Message, after: str) -> str:
        return self._token(request, {"after": after} if after else None)
