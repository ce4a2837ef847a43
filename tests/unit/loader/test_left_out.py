"""What a person sees or would miss in a file, and the text lacks, is noted; what only looks like a mark is text."""

from __future__ import annotations

import bz2
import io
import struct
import zipfile
from email.message import EmailMessage

import pytest
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import NoteKind
from PIL import Image

from tests.support import pdfs
from tests.unit.loader.kinds import read_bytes


def _photo(kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((200, 200), 60).save(stream, kind)
    return stream.getvalue()


def _zip(*names: str, encrypted: tuple[str, ...] = ()) -> bytes:
    """A ZIP archive in which some members say that they are encrypted."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, f"The text of {name}.")
        for entry in archive.infolist():
            entry.flag_bits |= entry.filename in encrypted
    data = bytearray(stream.getvalue())
    for entry in archive.infolist():
        if entry.filename in encrypted:
            struct.pack_into("<H", data, entry.header_offset + 6, entry.flag_bits)
    return bytes(data)


def test_encrypted_members_of_an_archive_are_noted() -> None:
    read = read_bytes(_zip("a.txt", "b.txt", "c.txt", encrypted=("b.txt",)), "a.zip")
    assert read.pages == ["# a.txt\n\nThe text of a.txt.", "# b.txt", "# c.txt\n\nThe text of c.txt."]
    assert read.notes == {NoteKind.ATTACHMENT: 1}
    assert read.wheres == ["b.txt"]


def test_an_archive_of_encrypted_members_is_encrypted() -> None:
    with pytest.raises(FileFailure) as failure:
        read_bytes(_zip("a.txt", "b.txt", encrypted=("a.txt", "b.txt")), "a.zip")
    assert failure.value.reason is FailureReason.ENCRYPTED


@pytest.mark.parametrize("text", ["BZh is the mark of bzip2.", "BZh9 was the seat.", "BZhang wrote this."])
def test_text_that_begins_like_a_bzip2_file_is_text(text: str) -> None:
    assert read_bytes(text.encode(), "a.txt").text == text


def test_a_bzip2_file_is_unpacked() -> None:
    assert read_bytes(bz2.compress(b"packed"), "a.txt.bz2").text == "# a.txt\n\npacked"
    assert read_bytes(bz2.compress(b"packed"), "a").text.endswith("packed")


def test_a_line_that_begins_with_from_separates_no_messages() -> None:
    def message(number: int, body: str) -> str:
        postmark = "From ann@example.org Thu Mar  5 09:30:00 2026"
        return f"{postmark}\nFrom: ann@example.org\nTo: b\nSubject: S{number}\n\n{body}\n\n"

    body = "We sailed.\n\nFrom Dover\nhttps://example.org/map\n\nFrom Calais\nNote: it rained."
    read = read_bytes((message(1, body) + message(2, "Bye.")).encode(), "a.mbox")
    assert body in read.text
    assert read.text.count("# S") == 2
    bare = "From MAILER-DAEMON\nFrom: a@b\nTo: c\nSubject: S\n\nOne.\n\n"
    assert read_bytes(2 * bare.encode(), "a.mbox").text.count("# S") == 2


@pytest.mark.parametrize(
    ("body", "text", "hidden"),
    [
        (r"Seen {\v secret }and \v gone\v0  kept\par", "Seen and  kept", 2),
        (r"{\b bold {\v a {\i b} c}} end\par", "bold  end", 1),
        (r"\v off\plain  on\par", "on", 1),
        (r"\viewkind4 No {\vern0 hidden} text\par", "No hidden text", 0),
        (
            r'{\field{\*\fldinst HYPERLINK "https://a.org/x"}{\fldrslt the map}} now',
            "[the map](https://a.org/x) now",
            0,
        ),
        (r'{\field{\*\fldinst{HYPERLINK "http://a.org"}}{\fldrslt{\ul map}}} now', "[map](http://a.org) now", 0),
        (r'{\field{\*\fldinst HYPERLINK "https://a.org"}{\fldrslt https://a.org}} now', "https://a.org now", 0),
        (r'{\field{\*\fldinst HYPERLINK "page2"}{\fldrslt the page}} now', "the page now", 0),
    ],
)
def test_hidden_text_of_rtf_is_noted_and_links_are_kept(body: str, text: str, hidden: int) -> None:
    read = read_bytes(rf"{{\rtf1\ansi {body}}}".encode(), "a.rtf")
    assert " ".join(read.text.split()) == " ".join(text.split())
    assert read.notes == ({NoteKind.HIDDEN: hidden} if hidden else {})


def test_pictures_of_a_page_without_alternative_text_are_noted() -> None:
    page = (
        "<html><body><p>Text</p><img src=a.png><img src=b.png alt='A chart'><img src=line.png alt=''>"
        "<img src=t.gif width=1 height=1><img src=c.png role=presentation></body></html>"
    )
    read = read_bytes(page.encode(), "a.html")
    assert read.text.split() == ["Text", "A", "chart"]
    assert read.notes == {NoteKind.PICTURE: 1}


def test_pictures_in_a_message_are_noted() -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Plan", "ann@example.org", "bob@example.org"
    mail.set_content("See below.")
    mail.add_alternative("<p>See below.</p><img src='cid:plan'><img src='cid:dot'>", subtype="html")
    html = mail.get_payload()[1]  # type: ignore[index]
    html.add_related(_photo(), "image", "png", cid="<plan>", filename="plan.png", disposition="inline")  # type: ignore[union-attr]
    html.add_related(b"GIF89a", "image", "gif", cid="<dot>", filename="dot.gif", disposition="inline")  # type: ignore[union-attr]
    read = read_bytes(mail.as_bytes(), "a.eml")
    assert read.notes == {NoteKind.PICTURE: 1}
    assert read.wheres == ["plan.png"]


def test_pictures_on_pages_with_text_are_noted_once() -> None:
    font = b"<< /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
    image = pdfs.stream_object(
        b"\x80" * 10_000,
        b"/Type /XObject /Subtype /Image /Width 100 /Height 100 /ColorSpace /DeviceGray /BitsPerComponent 8",
    )
    data = pdfs.with_contents(
        b"BT /F1 12 Tf 72 700 Td (The plan of the harbour) Tj ET /Im1 Do",
        b"",
        b"<< /XObject << /Im1 6 0 R >> /Font " + font + b" >>",
        image,
    )
    read = read_bytes(data, "a.pdf")
    assert "The plan of the harbour" in read.text
    assert read.notes == {NoteKind.PICTURE: 1}
    assert read.wheres == ["page 1"]
