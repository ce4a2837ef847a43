"""Running headers, footers and page numbers: lines that come again and again at the edges of pages.

They are told by their repetition among the pages around, so pages can be read one after the other.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator

_EDGE_LINES = 3
"""Lines at the top of a page, and at its bottom, that may be furniture."""
_WINDOW = 5
"""Pages before and behind one that it is compared with."""
_MOST_CHARS = 120
_AGAIN_ON = 3
"""Other pages in the window on which furniture comes again; all of them in a short document. Left and right pages may
differ: each kind has five in a full window."""

_NUMBER = re.compile(r"\d{1,6}")


class _Page:
    def __init__(self, number: int, text: str) -> None:
        self.text = text
        self.keys: dict[int, frozenset[str]] = {}
        """By the index of a line at an edge: what it may be on other pages, see `_keys`."""
        self.lines = text.split("\n")
        filled = [index for index, line in enumerate(self.lines) if line.strip()]
        for index in {*filled[:_EDGE_LINES], *filled[-_EDGE_LINES:]}:
            if len(self.lines[index]) <= _MOST_CHARS:
                self.keys[index] = _keys(self.lines[index], number)
        self.all_keys = frozenset().union(*self.keys.values())


def without_furniture(texts: Iterator[str], count: int) -> Iterator[str]:
    """Takes running headers, footers and page numbers out of the pages of a document.

    Where a header is first met it stays, since that may be the document's title.

    Args:
        texts: The pages' texts.
        count: How many there are; below 3 nothing is taken out.

    Yields:
        The pages' texts, in order; a page comes when the `_WINDOW` pages behind it have been read.
    """
    if count < 3:
        yield from texts
        return
    needed = min(_AGAIN_ON, count - 1)
    window: deque[_Page] = deque()
    around: Counter[str] = Counter()
    met: set[str] = set()
    pages = (_Page(number, text) for number, text in enumerate(texts, start=1))
    at = 0  # the next page to give, within the window
    for page in pages:
        window.append(page)
        around.update(page.all_keys)
        if len(window) - at > _WINDOW:
            yield _stripped(window[at], around, met, len(window), needed)
            at += 1
        if at > _WINDOW:
            around.subtract(window.popleft().all_keys)
            at -= 1
    # The last ones are compared with as many pages as the others, only that most of them lie before.
    for index in range(at, len(window)):
        yield _stripped(window[index], around, met, len(window), needed)


def _stripped(page: _Page, around: Counter[str], met: set[str], pages: int, needed: int) -> str:
    numbered = max(needed, (pages - 1) // 2 - 1)  # a page's number is on all of them, at least on all left ones
    gone = {
        index
        for index, keys in page.keys.items()
        if any((key in met and around[key] > needed) or (key[0] == "#" and around[key] > numbered) for key in keys)
    }
    met |= page.all_keys
    left = "\n".join(line for index, line in enumerate(page.lines) if index not in gone).strip()
    return left or page.text  # a page is more than its furniture


def _keys(line: str, page: int) -> frozenset[str]:
    """What a line may be: the same words everywhere, or with the page's number, counted from anywhere, in them.

    Keys of the second kind begin with `#`.
    """
    words = " ".join(line.split()).casefold()
    numbers = list(_NUMBER.finditer(words))
    keys = {f"={words}"}
    for number in (numbers[0], numbers[-1]) if numbers else ():
        from_page = int(number[0]) - page
        keys.add(f"#{words[: number.start()]}<{from_page}>{words[number.end() :]}")
    return frozenset(keys)
