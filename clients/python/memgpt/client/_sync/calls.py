# Generated from memgpt/client/_async by scripts/sync_client.py. Do not edit.
"""Calls of the stubs: their errors decoded, their pages as one iterator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from memgpt.client.errors import from_rpc_error

T = TypeVar("T")

PAGE_SIZE = 1000
"""Items of a page of a list, which is read whole."""

HITS = 20
"""Hits of a page of a search, of which the first ones matter most."""


def call(method: Callable[..., T], request: Any, seconds: float | None) -> T:
    """Make a call that has one response, and return it.

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
    """A page of a list or of a ranking.

    Attributes:
        items: The items.
        response: The response they came in, with `total_size` and the like.
    """

    items: Iterable[T]
    response: Any


class Pages(Generic[T]):
    """All items of a list or a ranking, page by page as they are read. Iterating again begins at the first page."""

    def __init__(self, fetch: Callable[[str], Page[T]]) -> None:
        self._fetch = fetch

    def pages(self) -> Iterator[Page[T]]:
        """Yield the pages, the last one included."""
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
        """Return at most `count` items from the start."""
        found: list[T] = []
        for page in self.pages():
            found.extend(page.items)
            if len(found) >= count:
                break
        return found[:count]

    def all(self) -> list[T]:
        """Return every item."""
        found: list[T] = []
        for page in self.pages():
            found.extend(page.items)
        return found
