"""What a person sees or would miss in a file, and the text lacks, is noted; what only looks like a mark is text."""
# ruff: noqa: E501 - texts as they come out

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
    for end in ("From Dover\n", "From Dover", "From\n"):
        read = read_bytes((message(1, "We sailed.") + end).encode(), "a.mbox")
        assert read.text.rstrip().endswith(f"We sailed.\n\n{end.rstrip()}")
    bare = "From MAILER-DAEMON\nFrom: a@b\nTo: c\nSubject: S\n\nOne.\n\n"
    assert read_bytes(2 * bare.encode(), "a.mbox").text.count("# S") == 2


@pytest.mark.parametrize(
    ("body", "text", "hidden"),
    [
        (r"Seen {\v secret }and \v gone\v0  kept\par", "Seen and  kept", 2),
        (r"{\b bold {\v a {\i b} c}} end\par", "bold  end", 1),
        (r"\v off\plain  on\par", "on", 1),
        (r"\viewkind4 No {\vern0 hidden} text\par", "No hidden text", 0),
        (r"{\deleted old {\b words}}new \deleted away\deleted0  here\par", "new here", 2),
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


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (r"It rains{\super\chftn}{\*\footnote\pard\plain {\super\chftn} in May.}, they say\par", "It rains [Note:] in May., they say"),
        (r"Paid{\*\atnid A}{\*\annotation When?}\par", "Paid [Comment:] When?"),
        (r"{\pntext 1.\tab}Mix\par{\*\pntext 2.\tab}Bake\par", "1. Mix 2. Bake"),
        (r"10{\super 6} m{\super\b 2} on the 1{\super st}, 10\super -3\nosupersub", "10^6 m^2 on the 1st, 10^-3"),
        (r"{\shp{\*\shpinst\shpleft1{\sp{\sn fill}{\sv 1}}{\shptxt Fire exit\par}}{\shprslt{\*\do{\dptxbxtext Fire exit\par}}}}on", "Fire exit on"),
        (r"{\shp{\*\shpinst{\sp{\sn gtextUNICODE}{\sv DRAFT}}}}on", "DRAFT on"),
        (r"{\*\do\dobxpage{\*\dptxbxtext Old box\par}}on", "Old box on"),
        (r"Then {\upr{ANSI}{\*\ud{\u26085?\u26412? \b x}}} and {\upr {\*\bkmkstart a}{\*\ud {\*\bkmkstart \u26085?}}}on", "Then 日本 x and on"),
        (r"Only {\upr{ANSI}} here", "Only ANSI here"),
        (r"\trowd{\pard\intbl A\par}\cell{\pard\intbl B\par}\cell\row", "A|B|"),
    ],
)  # fmt: skip
def test_parts_of_rtf_that_stand_apart_are_read(body: str, text: str) -> None:
    read = read_bytes(rf"{{\rtf1\ansi {body}}}".encode(), "a.rtf")
    assert " ".join(read.text.split()) == text
    assert not read.notes


@pytest.mark.parametrize(
    ("form", "shown", "text"),
    [
        (r"\fftype1\ffres25\ffdefres0", "", "☐"),
        (r"\fftype1\ffres25\ffdefres1", "", "☒"),
        (r"\fftype1\ffres1\ffdefres0{\*\ffname Check1}", r"{\b }", "☒"),
        (r"\fftype2\ffres1{\*\ffl Red}{\*\ffl Gr\'fcn}{\*\ffl Blue}", "", "Grün"),
        (r"\fftype2\ffres25\ffdefres0{\*\ffl Red}{\*\ffl Blue}", "", "Red"),
        (r"\fftype2\ffres7{\*\ffl Red}", "", ""),
        (r"\fftype0{\*\ffdeftext Name}", "Ann", "Ann"),
    ],
)
def test_choices_in_forms_of_rtf_are_read(form: str, shown: str, text: str) -> None:
    field = rf"{{\field{{\*\fldinst {{FORM}}{{{{\*\datafield 00}}{{\*\formfield{{{form}}}}}}}}}{{\fldrslt {shown}}}}}"
    read = read_bytes(rf"{{\rtf1\ansi It is [{field}], {field}.}}".encode(), "a.rtf")
    assert (read.text, read.notes) == (f"It is [{text}], {text}.", {})


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


def _der(tag: int, content: bytes, *, indefinite: bool = False) -> bytes:
    if indefinite:
        return bytes([tag, 0x80]) + content + b"\x00\x00"
    size = len(content).to_bytes(2, "big")
    return bytes([tag, 0x82]) + size + content


def _sealed(kind: str, content: bytes, *, indefinite: bool = False) -> bytes:
    """A message in CMS, as S/MIME sends it: signed (`02`) or encrypted (`03`)."""
    identifier = _der(6, bytes.fromhex("2a864886f70d0107" + kind))
    octets = _der(0x24, _der(4, content[:9]) + _der(4, content[9:])) if indefinite else _der(4, content)
    data = _der(0x30, _der(6, b"data") + _der(0xA0, octets, indefinite=indefinite), indefinite=indefinite)
    signed = _der(0x30, _der(2, b"\x01") + _der(0x31, b"") + data + _der(0x31, b""), indefinite=indefinite)
    return _der(0x30, identifier + _der(0xA0, signed, indefinite=indefinite), indefinite=indefinite)


def _message(data: bytes, kind: str, name: str) -> bytes:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Vault", "ann@example.org", "bob@example.org"
    mail.set_content(data, *kind.split("/"), filename=name)
    return mail.as_bytes()


@pytest.mark.parametrize("indefinite", [False, True])
def test_the_text_of_a_signed_message_is_read(indefinite: bool) -> None:
    inner = b"Content-Type: text/plain; charset=utf-8\r\n\r\nThe vault opens on Friday.\r\n"
    data = _sealed("02", inner, indefinite=indefinite)
    read = read_bytes(_message(data, "application/pkcs7-mime", "smime.p7m"), "a.eml")
    assert read.text.endswith("\n\nThe vault opens on Friday.")
    assert not read.notes


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_damaged_signed_message_is_noted(cut: int) -> None:
    data = _sealed("02", b"Content-Type: text/plain\r\n\r\nText")[:cut]
    read = read_bytes(_message(data + b"\x81", "application/pkcs7-mime", "smime.p7m"), "a.eml")
    assert read.notes == {NoteKind.ATTACHMENT: 1}


def test_an_encrypted_message_is_noted() -> None:
    read = read_bytes(_message(_sealed("03", b"secret"), "application/pkcs7-mime", "smime.p7m"), "a.eml")
    assert read.notes == {NoteKind.ATTACHMENT: 1}
    assert read.wheres == ["encrypted text"]
    pgp = (
        b"From: a@example.org\nTo: b@example.org\nSubject: S\nMIME-Version: 1.0\n"
        b"Content-Type: multipart/encrypted; protocol=application/pgp-encrypted; boundary=x\n\n"
        b"--x\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n--x\n"
        b"Content-Type: application/octet-stream; name=encrypted.asc\n\n-----BEGIN PGP MESSAGE-----\n\nhQEMA\n--x--\n"
    )
    read = read_bytes(pgp, "a.eml")
    assert "hQEMA" not in read.text
    assert read.wheres == ["encrypted text"]


def test_an_attached_signature_is_no_content() -> None:
    signed = (
        b"From: a@example.org\nTo: b@example.org\nSubject: S\nMIME-Version: 1.0\n"
        b"Content-Type: multipart/signed; protocol=application/pkcs7-signature; boundary=x\n\n"
        b"--x\nContent-Type: text/plain\n\nI approve.\n--x\nContent-Type: application/pkcs7-signature; name=smime.p7s\n"
        b"Content-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=smime.p7s\n\nMIIB\n--x--\n"
    )
    read = read_bytes(signed, "a.eml")
    assert read.text.endswith("\n\nI approve.")
    assert not read.notes


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("Отчёт за год.txt", "cp866"),
        ("テスト結果一覧.txt", "cp932"),
        ("年度财务报告.txt", "gbk"),
        ("Bücher.txt", "cp437"),
        ("café.txt", "utf-8"),
    ],
)
def test_names_in_an_archive_are_read_in_the_encoding_of_their_system(name: str, encoding: str) -> None:
    raw = name.encode(encoding)
    placed = "x" * len(raw) + ".txt"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(placed, "Text.")
    data = stream.getvalue().replace(placed.encode(), raw + b".txt")
    assert read_bytes(data, "a.zip").pages == [f"# {name}.txt\n\nText."]


def test_symbolic_links_in_an_archive_are_no_files() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.txt", "The text.")
        entry = zipfile.ZipInfo("link.txt")
        entry.create_system, entry.external_attr = 3, 0o120777 << 16
        archive.writestr(entry, "a.txt")
    assert read_bytes(stream.getvalue(), "a.zip").pages == ["# a.txt\n\nThe text."]


@pytest.mark.parametrize("mark", ["\f", "\v", "\x85", "\u2028", "\u2029"])
def test_marks_of_pages_and_lines_part_words(mark: str) -> None:
    assert read_bytes(f"page one{mark}page two".encode(), "a.txt").text == "page one\npage two"


@pytest.mark.parametrize("mark", ["\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.json", '{"note": "one%stwo"}', "note: one two"),
        ("a.jsonl", '{"note": "one%stwo"}\n{"note": "three"}', "one two"),
        ("a.tsv", "name\tnote\nAnna\tone%stwo\n", "one two"),
        ("a.ipynb", '{"cells": [{"cell_type": "markdown", "source": "one%stwo"}]}', "one two"),
    ],
)
def test_a_mark_within_a_value_does_not_part_it(name: str, data: str, text: str, mark: str) -> None:
    read = read_bytes((data % mark).encode(), name)
    assert text in read.text
    assert list(read.notes) == []


@pytest.mark.parametrize("kind", ["css", "javascript"])
def test_an_attached_style_sheet_or_script_is_read(kind: str) -> None:
    message = EmailMessage()
    message["Subject"] = "The files"
    message.set_content("Attached.")
    message.add_attachment("body { color: red }", subtype=kind, filename="a.css")
    read = read_bytes(message.as_bytes(), "a.eml")
    assert "color: red" in read.text or read.notes


def test_long_text_that_rtf_has_in_unicode_too_is_read_once() -> None:
    body = rf"{{\upr{{{'ANSI ' * 2_000}}}{{\*\ud{{\u26085?{'x ' * 3_000}}}}}}} on"
    text = read_bytes(rf"{{\rtf1\ansi {body}\par}}".encode(), "a.rtf").text
    assert "ANSI" not in text
    assert "日x x" in text
