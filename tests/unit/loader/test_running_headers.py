from __future__ import annotations

import pytest
from memgpt_loader.formats.pdf.running_headers import strip_running_headers


def book(pages: int, head: str = "A Book", foot: str = "Page {n} of {all}") -> list[str]:
    return [
        f"{head.format(n=n + 10, all=pages)}\nThe text of {'x' * n}.\nMore {'y' * n}.\nAnd {'z' * n}.\n"
        f"The end of {'w' * n}.\nAfter {'v' * n}.\nLast {'u' * n}.\n{foot.format(n=n, all=pages)}"
        for n in range(1, pages + 1)
    ]


def strip(pages: list[str]) -> list[str]:
    return list(strip_running_headers(iter(pages), len(pages)))


@pytest.mark.parametrize("pages", [3, 4, 13, 40])
def test_headers_and_page_numbers_go_but_for_the_first_header(pages: int) -> None:
    stripped = strip(book(pages))
    assert len(stripped) == pages
    assert stripped[0].startswith("A Book\nThe text of x.")
    assert all(page.startswith(f"The text of {'x' * n}.") for n, page in enumerate(stripped[1:], start=2))
    assert all(page.endswith(f"Last {'u' * n}.") for n, page in enumerate(stripped, start=1))


def test_left_and_right_pages_may_differ() -> None:
    pages = [f"{['Left', 'Right'][n % 2]} side\nText {'x' * n}." for n in range(20)]
    assert strip(pages)[2:] == [f"Text {'x' * n}." for n in range(2, 20)]


def test_numbers_count_from_anywhere() -> None:
    stripped = strip(book(6, head="{n} Running title", foot="fin"))
    assert stripped[0].startswith("The text")
    assert "Running" not in "".join(stripped)


def test_what_does_not_come_again_stays() -> None:
    pages = [f"Chapter {n * n}\nText {'x' * n}.\nTable {n * n}" for n in range(1, 12)]
    assert strip(pages) == pages


def test_two_pages_are_too_few_to_tell() -> None:
    assert strip(book(2)) == book(2)


def test_a_header_ends_where_it_ends() -> None:
    pages = book(30)[:15] + [f"Only {'t' * n}." for n in range(15)]
    assert strip(pages)[15:] == pages[15:]
