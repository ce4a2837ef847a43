"""Running headers, footers and page numbers: lines that come again and again at the edges of pages.

They are told by their repetition among the pages around, so pages can be read one after the other.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping

_EDGE_LINES = 3
"""Lines at the top of a page, and at its bottom, that may be furniture."""
_WINDOW = 5
"""Pages before and behind one that it is compared with."""
_MOST_CHARS = 120
_AGAIN_ON = 3
"""Other pages in the window on which furniture comes again; all of them in a short document. Left and right pages may
differ: each kind has five in a full window."""

_NUMBER = re.compile(r"\d{1,6}")
_LETTER = re.compile(r"[^\W\d_]")
_PAGE_WORDS = (
    r"pages?|pg|p|pp|seiten?|s|blatt|folio|fol|f|leaf|página|pagina|pág|pag|strona|str|страница|стр|с|sivu|sida|sid|side"
    r"|oldal|lap|sayfa|σελίδα|σελ|עמוד|صفحة|صفحه|第|頁|页"
)
# Words straight before a number, unless they are a word for a page or end with a mark that sets the number apart.
_LABEL = re.compile(rf"(?!(?:.*\W)?(?:{_PAGE_WORDS})\W*$).*[^\W\d_]\W?\s")


class _Page:
    def __init__(self, number: int, text: str, titles: frozenset[str]) -> None:
        self.text = text
        self.lines = text.split("\n")
        filled = [index for index, line in enumerate(self.lines) if line.strip()]
        edges = {*filled[:_EDGE_LINES], *filled[-_EDGE_LINES:]}
        lines = {index: _keys(self.lines[index], number) for index in edges if len(self.lines[index]) <= _MOST_CHARS}
        # By the index of a line that may go: what it may be on other pages.
        self.keys = {index: keys for index, keys in lines.items() if self.lines[index] not in titles}
        self.all_keys = frozenset().union(*lines.values())


def without_furniture(
    texts: Iterator[str], count: int, titles: Mapping[int, frozenset[str]] | None = None
) -> Iterator[str]:
    """Takes running headers, footers and page numbers out of the pages of a document.

    Where a header is first met it stays, since that may be the document's title.

    Args:
        texts: The pages' texts.
        count: How many there are; below 3 nothing is taken out.
        titles: By number of a page, known once its text is: lines that are titles, and stay.

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
    pages = (_Page(number, text, (titles or {}).get(number, frozenset())) for number, text in enumerate(texts, start=1))
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
        if any(_again(key, around, needed if key[0] == "=" else numbered, met) for key in keys)
    }
    met |= page.all_keys
    left = "\n".join(line for index, line in enumerate(page.lines) if index not in gone).strip()
    return left or page.text  # a page is more than its furniture


def _again(key: str, around: Counter[str], needed: int, met: set[str]) -> bool:
    match key[0]:
        case "=":
            return key in met and around[key] > needed
        case "#":
            return around[key] > needed
        case "~":
            return False
        case _:  # a label and a number: "Invoice 1001", unless the words are a running title elsewhere
            words = key[1 : key.index("<")].strip()
            return around[key] > needed and (around[f"={words}"] > 0 or around[f"~{words}"] > 0)


def _keys(line: str, page: int) -> frozenset[str]:
    """What a line may be on other pages.

    Returns:
        Keys that begin with `=` for the same words everywhere; with `#` for words with the page's number, counted from
        anywhere; with `?` for words before such a number that may be a label of what is on the page, as in "Lesson 3";
        and with `~` for the words behind a number.
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
