"""Calls of the stubs, with decoded errors and automatic pagination."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from memgpt.client.errors import from_rpc_error

T = TypeVar("T")

PAGE_SIZE = 1000
"""Items per page of a list, which is usually read completely."""

HITS = 20
"""Hits per page of a search, of which usually only the first ones are read."""


async def call(method: Callable[..., Awaitable[T]], request: Any, seconds: float | None) -> T:
    """Make a call with a single response, and return it.

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
    """A page of a list or a search.

    Attributes:
        items: The items.
        response: The response that contained them, with fields such as `total_size`.
    """

    items: Iterable[T]
    response: Any


class AsyncPages(Generic[T]):
    """The items of a list or a search, fetched page by page. Iterating again starts at the first page."""

    def __init__(self, fetch: Callable[[str], Awaitable[AsyncPage[T]]]) -> None:
        self._fetch = fetch

    async def pages(self) -> AsyncIterator[AsyncPage[T]]:
        """Yield the pages."""
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
        """Return the first items, at most `count`."""
        found: list[T] = []
        async for page in self.pages():
            found.extend(page.items)
            if len(found) >= count:
                break
        return found[:count]

    async def all(self) -> list[T]:
        """Fetch all pages and return every item."""
        found: list[T] = []
        async for page in self.pages():
            found.extend(page.items)
        return found
