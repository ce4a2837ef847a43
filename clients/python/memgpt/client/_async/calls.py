"""Calls of the stubs: their errors decoded, their pages as one iterator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from memgpt.client.errors import from_rpc_error

T = TypeVar("T")

PAGE_SIZE = 1000
"""Items of a page of a list, which is read whole."""

HITS = 20
"""Hits of a page of a search, of which the first ones matter most."""


async def call(method: Callable[..., Awaitable[T]], request: Any, seconds: float | None) -> T:
    """Make a call that has one response, and return it.

    Raises:
        ServiceError: The call failed.
    """
    try:
        return await method(request, timeout=seconds)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error


async def stream(responses: Any) -> AsyncIterator[Any]:
    """Yield the responses of a streaming call, and cancel it when the caller stops reading.

    Raises:
        ServiceError: The call failed.
    """
    try:
        async for response in responses:
            yield response
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error
    finally:
        responses.cancel()


@dataclass(frozen=True, slots=True)
class AsyncPage(Generic[T]):
    """A page of a list or of a ranking.

    Attributes:
        items: The items.
        response: The response they came in, with `total_size` and the like.
    """

    items: Iterable[T]
    response: Any


class AsyncPages(Generic[T]):
    """All items of a list or a ranking, page by page as they are read. Iterating again begins at the first page."""

    def __init__(self, fetch: Callable[[str], Awaitable[AsyncPage[T]]]) -> None:
        self._fetch = fetch

    async def pages(self) -> AsyncIterator[AsyncPage[T]]:
        """Yield the pages, the last one included."""
        token = ""
        while True:
            page = await self._fetch(token)
            yield page
            token = page.response.next_page_token
            if not token:
                return

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item

    async def first(self, count: int) -> list[T]:
        """Return at most `count` items from the start."""
        found: list[T] = []
        async for page in self.pages():
            found.extend(page.items)
            if len(found) >= count:
                break
        return found[:count]

    async def all(self) -> list[T]:
        """Return every item."""
        found: list[T] = []
        async for page in self.pages():
            found.extend(page.items)
        return found
