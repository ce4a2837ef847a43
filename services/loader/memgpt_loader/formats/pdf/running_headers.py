"""Detection of running headers, footers and page numbers: lines that repeat at the edges of pages.

A line is compared with neighboring pages only, so pages can be streamed.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping

_EDGE_LINES = 3
"""Number of lines at the top and at the bottom of a page that may be running headers or footers."""
_WINDOW = 5
"""Number of pages before and after a page that it is compared with."""
_MOST_CHARS = 120
_AGAIN_ON = 3
"""Minimum number of other pages in the window that repeat the line; all of them in a short document. Left and right
pages may differ: each side has five in a full window."""

_ADDRESS = re.compile(r"\]\([^()\s]{1,2000}\)")
_NUMBER = re.compile(r"\d{1,6}")
_LETTER = re.compile(r"[^\W\d_]")
_PAGE_WORDS = (
    r"pages?|pg|p|pp|seiten?|s|blatt|folio|fol|f|leaf|página|pagina|pág|pag|strona|str|страница|стр|с|sivu|sida|sid|side"
    r"|oldal|lap|sayfa|σελίδα|σελ|עמוד|صفحة|صفحه|第|頁|页"
)
# Words directly before a number, unless they mean "page" or end with a mark that separates the number.
_LABEL = re.compile(rf"(?!(?:.*\W)?(?:{_PAGE_WORDS})\W*$).*[^\W\d_]\W?\s")


class _Page:
    def __init__(self, number: int, text: str, titles: frozenset[str]) -> None:
        self.text = text
        self.lines = text.split("\n")
        filled = [index for index, line in enumerate(self.lines) if line.strip()]
        edges = {*filled[:_EDGE_LINES], *filled[-_EDGE_LINES:]}
        bare = {index: _ADDRESS.sub("]", self.lines[index]) for index in edges}
        lines = {index: _keys(line, number) for index, line in bare.items() if len(line) <= _MOST_CHARS}
        # By line index: the keys under which the line may repeat on other pages.
        self.keys = {index: keys for index, keys in lines.items() if self.lines[index] not in titles}
        self.all_keys = frozenset().union(*lines.values())


def strip_running_headers(
    texts: Iterator[str], count: int, titles: Mapping[int, frozenset[str]] | None = None
) -> Iterator[str]:
    """Remove running headers, footers and page numbers from the pages of a document.

    The first occurrence of a header stays, since it may be the document's title.

    Args:
        texts: The pages' texts.
        count: Number of pages; below 3 nothing is removed.
        titles: Title lines by page number, filled as texts are read; they are never removed.

    Yields:
        The texts of the pages in order; a page is yielded once the next `_WINDOW` pages have been read.
    """
    if count < 3:
        yield from texts
        return
    needed = min(_AGAIN_ON, count - 1)
    window: deque[_Page] = deque()
    around: Counter[str] = Counter()
    met: set[str] = set()
    pages = (_Page(number, text, (titles or {}).get(number, frozenset())) for number, text in enumerate(texts, start=1))
    at = 0  # index of the next page to yield, within the window
    for page in pages:
        window.append(page)
        around.update(page.all_keys)
        if len(window) - at > _WINDOW:
            yield _stripped(window[at], around, met, len(window), needed)
            at += 1
        if at > _WINDOW:
            around.subtract(window.popleft().all_keys)
            at -= 1
    # The last pages are compared with as many pages as the others, most of them earlier ones.
    for index in range(at, len(window)):
        yield _stripped(window[index], around, met, len(window), needed)


def _stripped(page: _Page, around: Counter[str], met: set[str], pages: int, needed: int) -> str:
    numbered = max(needed, (pages - 1) // 2 - 1)  # a page number is on every page, or on every left or right page
    gone = {
        index
        for index, keys in page.keys.items()
        if any(_again(key, around, needed if key[0] == "=" else numbered, met) for key in keys)
    }
    met |= page.all_keys
    left = "\n".join(line for index, line in enumerate(page.lines) if index not in gone).strip()
    return left or page.text  # a page must keep some text


def _again(key: str, around: Counter[str], needed: int, met: set[str]) -> bool:
    match key[0]:
        case "=":
            return key in met and around[key] > needed
        case "#":
            return around[key] > needed
        case "~":
            return False
        case _:  # "Invoice 1001" is a label with a number, unless the words are a running title on other pages
            words = key[1 : key.index("<")].strip()
            return around[key] > needed and (around[f"={words}"] > 0 or around[f"~{words}"] > 0)


def _keys(line: str, page: int) -> frozenset[str]:
    """Return the keys under which a line may repeat on other pages.

    Returns:
        Keys that begin with `=` for the same words everywhere; with `#` for words with the page's number, counted from
        anywhere; with `?` for words before such a number that may label the page's content, as in "Lesson 3";
        and with `~` for the words after a number.
    """
    words = " ".join(line.split()).casefold()
    numbers = list(_NUMBER.finditer(words))
    keys = {f"={words}"}
    for number in (numbers[0], numbers[-1]) if numbers else ():
        from_page = int(number[0]) - page
        before, after = words[: number.start()], words[number.end() :]
        mark = "?" if _LABEL.fullmatch(before) and not _LETTER.search(after.replace("of", "")) else "#"
        keys.add(f"{mark}{before}<{from_page}>{after}")
        if not before and after.startswith(" "):
            keys.add(f"~{after.strip()}")
    return frozenset(keys)
