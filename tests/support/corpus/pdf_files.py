"""PDFs of the corpus."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from tests.support import pdfs
from tests.support.corpus.sample import Sample, empty, failed, good, skipped

_LARGE_PAGES = 5000


def samples() -> Iterator[Sample]:
    """Yield all PDFs."""
    yield from _good()
    yield from _odd()


def _good() -> Iterator[Sample]:
    yield good(
        "report.pdf",
        lambda: pdfs.pdf(["A first page.", "The aardvark counted seven lanterns.", "A last page."]),
        "The aardvark counted seven lanterns.",
        2,
    )
    yield good("paper of two columns.pdf", _with_running_headers, "The baboon measured international wavelengths.", 4)
    yield good(
        "ligatures.pdf",
        lambda: pdfs.in_any_script(["An eﬃcient bandicoot\nfiled its oﬀice ﬂoor-\nplans early."]),
        "An efficient bandicoot\nfiled its office floorplans early.",
        1,
    )
    yield good(
        "arabic.pdf",
        lambda: pdfs.in_any_script(["صفحة أولى"[::-1], "الجمل يعبر الصحراء ليلا"[::-1]]),
        "الجمل يعبر الصحراء ليلا",
        2,
    )
    yield good(
        "japanese.pdf",
        lambda: pdfs.in_any_script(["最初のページ。", "狸が寺の鐘を三度鳴らした。"]),
        "狸が寺の鐘を三度鳴らした。",
        2,
    )
    yield good("thai.pdf", lambda: pdfs.in_any_script(["ช้างเดินข้ามสะพานไม้เก่า"]), "ช้างเดินข้ามสะพานไม้เก่า", 1)
    yield good(
        "opens without a password.pdf",
        lambda: pdfs.pdf(["The caribou locked the printer only."], password="", owner_password="owner"),
        "The caribou locked the printer only.",
        1,
    )
    yield good(
        "half scanned.pdf",
        lambda: pdfs.pdf(["The dromedary typed this page.", pdfs.PICTURE, pdfs.PICTURE]),
        "The dromedary typed this page.",
        1,
        note="(pages 2-3)",
    )
    yield good(
        "junk ahead of it.pdf",
        lambda: b"HTTP/1.1 200 OK\r\n\r\n" + pdfs.pdf(["The echidna came by way of a proxy."]),
        "The echidna came by way of a proxy.",
        1,
    )
    yield good(
        "a pdf by content.txt",
        lambda: pdfs.pdf(["One.", "Two.", "The ferret hides behind a wrong name."]),
        "The ferret hides behind a wrong name.",
        3,
    )
    yield good("wrong table of objects.pdf", _wrong_table, "The gerbil lost its cross references.", 1)
    yield good("5000 pages.pdf", _many_pages, "The narwhal surfaced at last.", 4711, large=True)


def _odd() -> Iterator[Sample]:
    yield failed("password.pdf", lambda: pdfs.pdf(["Hidden."], password="secret"), "protected by a password")
    yield failed("scan.pdf", lambda: pdfs.pdf([pdfs.PICTURE] * 3), "probably a scan")
    yield failed("truncated.pdf", lambda: pdfs.pdf(["Text."] * 20)[:300], "damaged or incomplete")
    yield failed("end is missing.pdf", lambda: pdfs.pdf(["Text."]).partition(b"startxref")[0], "damaged or incomplete")
    yield failed("header only.pdf", lambda: b"%PDF-1.7\n", "damaged or incomplete")
    yield failed("noise.pdf", lambda: b"\xff" * 4096, "is not a PDF")
    yield skipped("a picture.pdf", lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG")
    yield failed("reference loop.pdf", pdfs.loop, "damaged or incomplete")
    yield failed("expands to 200 MB.pdf", pdfs.bomb, "decompression bomb")
    yield failed("expands to 1 GB.pdf", _expanding_twice, "decompression bomb")
    yield failed("pages without end.pdf", _exponential, "nesting")
    yield failed("pages nested very deep.pdf", _deep, "nesting")
    yield failed("too many pages.pdf", lambda: pdfs.with_tree([b"4 0 R " * 10_001], 10_001), "10,001 pages")
    yield empty("no pages.pdf", lambda: pdfs.with_tree([b""], 0), "no pages")
    yield empty("nothing.pdf", lambda: b"", "empty")


def _wrong_table() -> bytes:
    start, mark, _ = pdfs.pdf(["The gerbil lost its cross references."]).rpartition(b"startxref")
    return start + mark + b"\n7\n%%EOF\n"


def _with_running_headers() -> bytes:
    """Return a PDF with headers, footers, page numbers, and a word broken at the end of a line."""
    body = {4: "The baboon measured inter-\nnational wavelengths."}
    return pdfs.pdf(
        [
            f"Annals of Zoology, volume 12\n{body.get(n, f'Page {n} says {n * n} things.')}\nDraft of May\n- {n} -"
            for n in range(1, 9)
        ]
    )


def _expanding_twice() -> bytes:
    """Return a PDF of some KB that expands to 1 GiB through nested filters."""
    return pdfs.with_contents(zlib.compress(pdfs.packed_blanks(1024)), b"/Filter [/FlateDecode /FlateDecode]")


def _exponential() -> bytes:
    """Return a PDF whose page tree nodes have the next node as a child ten times: 10 ** 9 pages."""
    return pdfs.with_tree([b"%d 0 R " % (6 + n) * 10 for n in range(8)] + [b"4 0 R " * 10], 100)


def _deep() -> bytes:
    return pdfs.with_tree([b"%d 0 R" % (6 + n) for n in range(5000)] + [b"4 0 R"], 1)


def _many_pages() -> bytes:
    words = "Whales of the north keep to their paths below the ice, and nobody counts them in the dark of winter. "
    lines = "\n".join(words for _ in range(20))
    needles = {4711: "The narwhal surfaced at last.\n"}
    return pdfs.pdf_of_pages(f"{needles.get(n, '')}Page {n}. {lines}" for n in range(1, _LARGE_PAGES + 1))
