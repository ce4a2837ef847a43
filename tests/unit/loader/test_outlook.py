"""Messages saved by Outlook."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import compressed_rtf
import pytest
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import NoteKind, media_type_of

from tests.support.compound_files import Storage, compound_file
from tests.unit.loader.kinds import read_bytes

_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


def texts(**values: str) -> Storage:
    return {f"__substg1.0_{number.removeprefix('p')}001F": text.encode("utf-16-le") for number, text in values.items()}


def fixed(header: int, **values: int) -> Storage:
    rows = [struct.pack("<HHIq", 0x0003, int(number[1:], 16), 6, value) for number, value in values.items()]
    return {"__properties_version1.0": b"\0" * header + b"".join(rows)}


def message(header: int = 32, **parts: Storage | bytes) -> Storage:
    sent = int((datetime(2026, 3, 5, 9, 30, tzinfo=UTC) - _EPOCH).total_seconds()) * 10_000_000
    return {
        **texts(p0037="Harbour fees", p0C1A="Ann Lee", p5D01="ann@example.org"),
        **fixed(header, p0039=sent, p3FDE=1252),
        "__recip_version1.0_#00000000": {**texts(p3001="Bob", p39FE="bob@example.org"), **fixed(8, p0C15=1)},
        "__recip_version1.0_#00000001": {**texts(p3001="cy@example.org", p3003="cy@example.org"), **fixed(8, p0C15=2)},
        **parts,
    }


HEAD = "# Harbour fees\n\nFrom: Ann Lee <ann@example.org>\n\nTo: Bob <bob@example.org>\n\nCc: cy@example.org\n\n"
HEAD += "Date: Thu, 05 Mar 2026 09:30:00 +0000"


@pytest.mark.parametrize("name", ["a.msg", "a"])
def test_a_message_is_read_with_its_attachments(name: str) -> None:
    inner = {**message(24), **texts(p1000="An older one.")}
    attached: Storage = {
        "__attach_version1.0_#00000000": {
            **texts(p3707="fees.csv"), **fixed(8), "__substg1.0_37010102": b"Boat,Fee\nGreta,12\n",
        },
        "__attach_version1.0_#00000001": {**texts(p3001="Re: old"), **fixed(8), "__substg1.0_3701000D": inner},
        "__attach_version1.0_#00000002": {
            **texts(p3707="setup.exe"), **fixed(8), "__substg1.0_37010102": b"MZ\x90" + b"\0" * 99,
        },
        "__attach_version1.0_#00000003": {**texts(p3707="a drawing"), **fixed(8)},
    }  # fmt: skip
    read = read_bytes(compound_file({**message(), **texts(p1000="Please pay.\r\nSoon."), **attached}), name)
    assert read.text == (
        f"{HEAD}\n\nPlease pay.\nSoon.\n\n## Attachment: fees.csv\n\nBoat | Fee\nBoat: Greta | Fee: 12\n\n"
        f"## Attachment: Re: old\n\n{HEAD}\n\nAn older one.\n\n## Attachment: setup.exe\n\n## Attachment: a drawing"
    )
    assert read.notes[NoteKind.ATTACHMENT] == 1  # one for each reason


def test_recipients_of_a_blind_copy_are_read() -> None:
    blind: Storage = {"__recip_version1.0_#00000002": {**texts(p3001="Di"), **fixed(8, p0C15=3)}}
    read = read_bytes(compound_file({**message(), **texts(p1000="Please pay."), **blind}), "a.msg")
    assert "Cc: cy@example.org\n\nBcc: Di\n\n" in read.text


def test_time_and_place_of_an_appointment_are_read_and_fields_of_a_contact_noted() -> None:
    start = int((datetime(2026, 3, 9, 8, 0, tzinfo=UTC) - _EPOCH).total_seconds()) * 10_000_000
    names: Storage = {"__nameid_version1.0": {"__substg1.0_00030102": struct.pack("<IHHIHH", 7, 1, 0, 0x8208, 2, 1)}}
    parts = {**message(), **fixed(32, p0060=start), **texts(p001A="IPM.Appointment", p8001="Pier 4"), **names}
    appointment = read_bytes(compound_file(parts), "a.msg")
    assert appointment.text.endswith("Start: Mon, 09 Mar 2026 08:00:00 +0000\n\nPlace: Pier 4")
    assert not appointment.notes
    contact = read_bytes(compound_file({**message(), **texts(p001A="IPM.Contact")}), "a.msg")
    assert contact.notes == {NoteKind.OBJECT: 1}


@pytest.mark.parametrize(
    ("part", "data"),
    [
        ("10130102", "<p>Größe <b>12</b></p>".encode("cp1252")),
        ("1013001F", "<p>Größe <b>12</b></p>".encode("utf-16-le")),
        ("1000001E", "Größe 12".encode("cp1252")),
        ("10090102", compressed_rtf.compress(rb"{\rtf1\ansi\ansicpg1252 Gr\'f6\'dfe 12\par}", compressed=True)),
    ],
    ids=["HTML in bytes", "HTML", "text in a code page", "packed RTF"],
)
def test_the_body_may_be_of_any_kind(part: str, data: bytes) -> None:
    read = read_bytes(compound_file({**message(), f"__substg1.0_{part}": data}), "a.msg")
    assert read.text.replace("**", "") == f"{HEAD}\n\nGröße 12"
    assert not read.notes


def test_nesting_is_bounded() -> None:
    nested = {**message(24), **texts(p1000="innermost")}
    for _ in range(10):
        attachment: Storage = {**texts(p3001="inner"), **fixed(8), "__substg1.0_3701000D": nested}
        nested = {**message(24), "__attach_version1.0_#00000000": attachment}
    read = read_bytes(compound_file({**nested, **fixed(32)}), "a.msg")
    assert "innermost" not in read.text
    assert NoteKind.ATTACHMENT in read.notes


@pytest.mark.parametrize("size", [100, 600, 1500, 2500])
def test_a_damaged_message_fails(size: int) -> None:
    data = compound_file({**message(), **texts(p1000="x" * 3000)})
    with pytest.raises(FileFailure) as failure:
        read_bytes(data[:size], "a.msg")
    assert failure.value.reason in (FailureReason.BROKEN, FailureReason.EMPTY)


def test_packed_text_that_expands_too_much_is_refused() -> None:
    packed = bytearray(compressed_rtf.compress(b"{\\rtf1 x}", compressed=True))
    packed[4:8] = (1 << 31).to_bytes(4, "little")
    with pytest.raises(FileFailure, match="expands"):
        read_bytes(compound_file({**message(), "__substg1.0_10090102": bytes(packed)}), "a.msg")


def test_a_legacy_document_is_still_told_apart() -> None:
    for name in ("a.doc", "a"):
        assert media_type_of(name, compound_file({"WordDocument": b"x" * 600})) == "application/msword"
    with pytest.raises(FileFailure, match="legacy office document"):
        media_type_of("a.docx", compound_file({"WordDocument": b"x" * 600}))
