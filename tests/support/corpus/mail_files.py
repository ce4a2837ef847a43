"""E-mail messages of the corpus."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage

from tests.support import documents, pdfs
from tests.support.corpus.sample import Sample, good


def samples() -> Iterator[Sample]:
    """Yield all messages."""
    yield good(
        "hello.eml",
        lambda: _message("The reindeer answers by return of post.").as_bytes(),
        "The reindeer answers by return of post.",
    )
    yield good(
        "mail by content.txt",
        lambda: _message("The serval forgot its extension.").as_bytes(),
        "The serval forgot its extension.",
    )
    yield good(
        "quoted-printable.eml",
        lambda: _encoded("Das Rentier grüßt vom Gänseblümchenweg.", "latin-1"),
        "Das Rentier grüßt vom Gänseblümchenweg.",
    )
    yield good(
        "iso-2022-jp.eml",
        lambda: _encoded("ヤマネは冬の間ずっと眠っている。", "iso-2022-jp"),
        "ヤマネは冬の間ずっと眠っている。",
    )
    yield good("html only.eml", _html_only, "The takin reads [only this](https://example.org/takin).")
    yield good(
        "attachments.eml",
        _with_attachments,
        "The uakari is on the second page of an attachment.",
        note="photo.png",
    )
    yield good("mail in mail.eml", lambda: _nested(3), "The vicuna sits within 3 messages.")
    yield good(
        "mail in mail without end.eml", lambda: _nested(50), "Message 2 holds another.", note="too many other files"
    )
    yield good("archive.mbox", _archive, "The wallaby wrote the second message.")
    yield good("archive by content", _archive_of_old, "From here on the xenops wrote on.")
    yield good("no subject, broken parts.eml", _broken, "The yellowjacket is in a part without end.")


def _message(body: str) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Grüße", "Ada <ada@example.org>", "bob@example.org"
    mail["Date"] = "Mon, 05 Feb 2024 10:00:00 +0000"
    mail.set_content(body)
    return mail


def _encoded(body: str, charset: str) -> bytes:
    mail = _message("")
    mail.set_content(body, charset=charset, cte="quoted-printable")
    return mail.as_bytes()


def _html_only() -> bytes:
    mail = _message("")
    mail.set_content('<p>The takin reads <a href="https://example.org/takin">only this</a>.</p>', subtype="html")
    return mail.as_bytes()


def _with_attachments() -> bytes:
    mail = _message("See what is attached.")
    pages = pdfs.pdf(["One.", "The uakari is on the second page of an attachment."])
    mail.add_attachment(pages, maintype="application", subtype="pdf", filename="report.pdf")
    letter = documents.docx(documents.paragraph("A letter."))
    mail.add_attachment(letter, maintype="application", subtype="octet-stream", filename="letter.docx")
    mail.add_attachment(b"\x89PNG\r\n", maintype="image", subtype="png", filename="photo.png")
    return mail.as_bytes()


def _nested(depth: int) -> bytes:
    mail = _message(f"The vicuna sits within {depth} messages.")
    for number in range(depth - 1, -1, -1):
        outer = _message(f"Message {number} holds another.")
        outer.add_attachment(mail)
        mail = outer
    return mail.as_bytes()


def _archive() -> bytes:
    bodies = ["First.", "The wallaby wrote the second message.", "Third."]
    return b"".join(
        b"From ada@example.org Mon Feb  5 10:00:00 2024\n" + _message(each).as_bytes() + b"\n" for each in bodies
    )


def _archive_of_old() -> bytes:
    head = b"From MAILER Mon Feb  5 10:00:00 2024\r\nFrom: a@example.org\r\nSubject: One\r\nDate: today\r\n\r\n"
    return (head + b"Text.\r\n\r\n") * 2 + head + b"Text.\r\n\r\n>From here on the xenops wrote on.\r\n"


def _broken() -> bytes:
    return (
        b"From: a@example.org\nTo: b@example.org\nMIME-Version: 1.0\n"
        b'Content-Type: multipart/mixed; boundary="x"\n\n--x\nContent-Type: text/plain; charset=nonsense\n\n'
        b"The yellowjacket is in a part without end.\n--y\nContent-Type: :::\n"
    )
