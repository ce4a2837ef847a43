# Generated from memgpt/client/_async by scripts/sync_client.py. Do not edit.
"""Calls of the stubs, with decoded errors and automatic pagination."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from memgpt.client.errors import from_rpc_error

T = TypeVar("T")

PAGE_SIZE = 1000
"""Items per page of a list, which is usually read completely."""

HITS = 20
"""Hits per page of a search, of which usually only the first ones are read."""


def call(method: Callable[..., T], request: Any, seconds: float | None) -> T:
    """Make a call with a single response, and return it.

    Raises:
        ServiceError: The call failed.
    """
    try:
        return method(request, timeout=seconds)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error


def stream(responses: Any) -> Iterator[Any]:
    """Yield the responses of a streaming call, and cancel it when the caller stops reading.

    Raises:
        ServiceError: The call failed.
    """
    try:
        for response in responses:
            yield response
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error
    finally:
        responses.cancel()


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list or a search.

    Attributes:
        items: The items.
        response: The response that contained them, with fields such as `total_size`.
    """

    items: Iterable[T]
    response: Any


class Pages(Generic[T]):
    """The items of a list or a search, fetched page by page. Iterating again starts at the first page."""

    def __init__(self, fetch: Callable[[str], Page[T]]) -> None:
        self._fetch = fetch

    def pages(self) -> Iterator[Page[T]]:
        """Yield the pages."""
        token = ""
        while True:
            page = self._fetch(token)
            yield page
            token = page.response.next_page_token
            if not token:
                return

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            for item in page.items:
                yield item

    def first(self, count: int) -> list[T]:
        """Return the first items, at most `count`."""
        found: list[T] = []
        for page in self.pages():
            found.extend(page.items)
            if len(found) >= count:
                break
        return found[:count]

    def all(self) -> list[T]:
        """Fetch all pages and return every item."""
        found: list[T] = []
        for page in self.pages():
            found.extend(page.items)
        return found
