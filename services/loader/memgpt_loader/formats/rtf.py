"""Rich Text Format, read with striprtf."""

from __future__ import annotations

import re
from collections.abc import Mapping

from memgpt_loader.decoding import writable
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.inspected_file import InspectedFile
from memgpt_loader.formats.spec import File, FileLimits, Format, Parsed, broken, flowing
from memgpt_loader.markup import Struck, joined, link, tidy
from memgpt_loader.notes import NoteKind, Notes

RTF = "application/rtf"

_SIGNATURE = b"{\\rtf"
_PICTURE = re.compile(rb"\\pict\b")
_SHADOW = re.compile(rb"\\nonshppict\b")
# Destinations that the library leaves out because they are not part of the body text.
_FRAME = re.compile(rb"(?:\\\*\s*)?\\(header|footer|footnote|annotation)[lrf]?(?![a-z0-9])")
_NUMBER = re.compile(rb"(?:\\\*\s*)?\\pntext(?![a-z0-9])")
# A text box; programs write a copy of it for older ones, which is all that old files have.
_BOX = re.compile(rb"(?:\\\*\s*)?\\(?:shp|shpgrp|shpinst|shptxt)(?![a-z0-9])")
_OLD_BOX = re.compile(rb"\\\*\s*\\do(?![a-z0-9])|(?:\\\*\s*)?\\dptxbxtext(?![a-z0-9])")
_LETTERING = re.compile(rb"\{\\sp\s*\{\\sn gtextUNICODE\}\s*\{\\sv ([^{}]*)\}\s*\}")
_RAISED = re.compile(
    rb"\\super(?![a-z0-9])(?:\\[a-z]{1,32}-?\d{0,10} ?+|[{\r\n ]){0,20}+(?=(?:[+-]?\d+|[ijkmnxyt])(?![A-Za-z0-9]))"
)
_BEFORE_RAISED = 200
_END_IN_CELL = re.compile(rb"\\par(?![a-z])(?=[}\s]{0,10}\\cell(?![a-z]))")
_OBJECT = re.compile(rb"\\objdata\b")
_BINARY = re.compile(rb"\\bin\d")
_HIDDEN = re.compile(rb"\\(?:v|deleted)1?(?![a-z0-9-])")
_CONTROL = re.compile(rb"\\(?:[a-z]{1,32}-?\d{0,10} ?|'[0-9a-fA-F]{2}|[^a-z])|[{}]")
_SHOWN_AGAIN = (rb"\v0", rb"\deleted0", rb"\plain")
_LINK = re.compile(
    rb'\\fldinst([^"\\{}]{0,200}\{?)[^"{}]{0,200}HYPERLINK\s+"([^"{}\\]{1,2000})"[^{}]{0,500}'
    rb"(\}{1,3}\s*\{\\fldrslt\b ?)"
)
_MOST_LINK_BYTES = 5_000
_STRIKE = re.compile(rb"\\striked?\d?(?![a-z0-9])")
_SET_STRUCK = {
    **dict.fromkeys((rb"\strike", rb"\strike1", rb"\striked", rb"\striked1"), True),
    **dict.fromkeys((rb"\strike0", rb"\striked0", rb"\plain"), False),
}
_STRUCK, _NOT_STRUCK = "\x01", "\x02"
"""Where text that is struck through begins and ends, until the library has read the document."""
_STRUCK_PARTS = re.compile(f"([{_STRUCK}{_NOT_STRUCK}\n|])")
_FIELD = re.compile(rb"\\field(?![a-z])")
_FORM_FIELD = re.compile(rb"\{\\\*\s*\\formfield(?![a-z])")
_FORM_RESULT = re.compile(rb"\\fldrslt(?![a-z]) ?")
_FORM_VALUE = re.compile(rb"\\(fftype|ffdefres|ffres)(\d{1,3})")
_FORM_ENTRY = re.compile(rb"\{\\\*\s*\\ffl(?![a-z]) ?")
_NO_RESULT = 25
"""Stands for a field that was never changed from its default."""
_BOTH_WAYS = re.compile(rb"\\upr(?![a-z0-9])\s*\{")
_IN_UNICODE = re.compile(rb"\}\s*\{\\\*\\ud(?![a-z0-9]) ?")


def _parse(file: File, limits: FileLimits) -> Parsed:
    notes = Notes()
    return Parsed(1, flowing(rtf_text(file.read(), notes)), notes)


def packed_rtf_text(packed: bytes, limits: FileLimits, notes: Notes) -> str:
    """Return the text of an RTF document that is compressed as in Outlook's messages.

    Args:
        packed: The compressed document.
        limits: Limits of parsing.
        notes: Receives notes on content that is left out.

    Raises:
        FileFailure: It cannot be read, or is too large.
    """
    import compressed_rtf

    if int.from_bytes(packed[4:8], "little") > limits.max_unpacked_bytes:
        raise FileFailure(FailureReason.TOO_LARGE, "the message's text expands beyond the limit; save it as .eml")
    try:
        data = bytes(compressed_rtf.decompress(packed))
    except MemoryError:
        raise
    except Exception as error:  # on malformed data the library raises arbitrary exceptions
        raise broken("the message's text", error) from error
    return rtf_text(data, notes)


def rtf_text(data: bytes, notes: Notes) -> str:
    """Return the text of an RTF document.

    Args:
        data: The document.
        notes: Receives notes on content that is left out.

    Raises:
        FileFailure: It cannot be read.
    """
    from striprtf.striprtf import rtf_to_text

    try:
        # Latin-1 keeps every byte; the library decodes escaped bytes with the document's code page.
        body, hidden = (data, 0) if _BINARY.search(data) else _without_hidden(data)
        source = _with_strikes(_with_parts(_with_links(_with_choices(_in_unicode(body))))).decode("latin-1")
        words = _struck(str(rtf_to_text(source, errors="replace")))  # type: ignore[no-untyped-call]
    except MemoryError:
        raise
    except Exception as error:  # on a malformed structure the library raises arbitrary exceptions
        raise broken("the RTF document", error) from error
    if hidden:
        notes.add(NoteKind.HIDDEN, count=hidden)
    if pictures := len(_PICTURE.findall(data)) - len(_SHADOW.findall(data)):
        notes.add(NoteKind.PICTURE, count=max(pictures, 1))
    if objects := len(_OBJECT.findall(data)):
        notes.add(NoteKind.OBJECT, count=objects)
    return tidy(writable(words))


def _without_hidden(data: bytes) -> tuple[bytes, int]:
    """Remove hidden text; return the rest and the number of hidden pieces."""
    if not _HIDDEN.search(data):
        return data, 0
    kept: list[bytes] = []
    outer: list[bool] = []
    hidden = in_piece = False
    at = pieces = 0
    for control in _CONTROL.finditer(data):
        text, at = data[at : control.start()], control.end()
        if hidden and text.strip():
            pieces += not in_piece
            in_piece = True
        elif not hidden:
            kept.append(text)
        word = control.group().rstrip()
        if word == b"{":
            outer.append(hidden)
        elif word == b"}":
            hidden = outer.pop() if outer else False
        elif _HIDDEN.fullmatch(word) or word in _SHOWN_AGAIN:
            hidden = word not in _SHOWN_AGAIN
            kept.append(control.group() if word == b"\\plain" else b"")
            in_piece = in_piece and hidden
            continue
        if not hidden:
            in_piece = False
        if not hidden or word in (b"{", b"}"):
            kept.append(control.group())
    kept.append(b"" if hidden else data[at:])
    return b"".join(kept), pieces


def _with_parts(data: bytes) -> bytes:
    """Turn destinations that the library leaves out into text: notes, comments, boxes, and numbers of lists."""
    boxes = _BOX if b"\\shptxt" in data or b"gtextUNICODE" in data else _OLD_BOX
    data = boxes.sub(b"\\\\par ", _LETTERING.sub(rb"{\\par \1\\par }", data))
    data = _RAISED.sub(_with_mark, _NUMBER.sub(b"", data))
    return _FRAME.sub(_as_text, _END_IN_CELL.sub(b"", data))


def _with_mark(match: re.Match[bytes]) -> bytes:
    """Mark an exponent, so that 10⁶ is not read as 106."""
    before = match.string[max(0, match.start() - _BEFORE_RAISED) : match.start()]
    is_exponent = _CONTROL.sub(b"", before)[-1:].isalnum()
    return match.group() + b"^" if is_exponent else match.group()


def _in_unicode(data: bytes) -> bytes:
    """Keep only the Unicode of text that is written in both a code page and Unicode."""
    if not _BOTH_WAYS.search(data):
        return data
    pieces: list[bytes] = []
    ends = _ends_of_groups(data)
    at = 0
    for match in _BOTH_WAYS.finditer(data):
        if match.start() < at:
            continue
        end = ends.get(match.end())
        following = None if end is None else _IN_UNICODE.match(data, end)
        pieces.append(data[at : match.start()])
        at = following.end() if following else match.end() - 1
        if following:
            pieces.append(b"{")
    return b"".join([*pieces, data[at:]])


def _ends_of_groups(data: bytes) -> dict[int, int]:
    """Return where each group ends, by the place after its opening brace."""
    ends: dict[int, int] = {}
    opened: list[int] = []
    for control in _CONTROL.finditer(data):
        if control.group() == b"{":
            opened.append(control.end())
        elif control.group() == b"}" and opened:
            ends[opened.pop()] = control.start()
    return ends


def _with_links(data: bytes) -> bytes:
    """Write the targets of links after their words, as in Markdown."""
    pieces: list[bytes] = []
    at = 0
    for match in _LINK.finditer(data):
        end = _end_of_group(data, match.end())
        if match.start() < at or end < 0:
            continue
        before, target, after = match.groups()
        shown = data[match.end() : end]
        if link("words", target.decode("latin-1")).startswith("[") and target not in shown:
            shown = b"[%b](%b)" % (shown, target)
        pieces += [data[at : match.start()], rb"\fldinst", before, after, shown]
        at = end
    return b"".join([*pieces, data[at:]])


def _with_choices(data: bytes) -> bytes:
    """Write the state of check boxes and drop-down lists of forms, which programs show in place of an empty result."""
    if not _FORM_FIELD.search(data):
        return data
    pieces: list[bytes] = []
    ends = _ends_of_groups(data)
    at = 0
    for field in _FORM_FIELD.finditer(data):
        end = ends.get(field.start() + 1, -1)
        result = _FORM_RESULT.search(data, end, end + _MOST_LINK_BYTES) if end >= at else None
        if result is None or _FIELD.search(data, end, result.start()):
            continue
        shown_end = _end_of_group(data, result.end())
        if shown_end >= 0 and not _CONTROL.sub(b"", data[result.end() : shown_end]).strip():
            pieces += [data[at : result.end()], _chosen(data, field.end(), end, ends)]
            at = result.end()
    return b"".join([*pieces, data[at:]])


def _chosen(data: bytes, start: int, end: int, ends: Mapping[int, int]) -> bytes:
    """Return the state of the check box or drop-down list that a range describes; empty for other fields."""
    values = {name: int(value) for name, value in _FORM_VALUE.findall(data, start, end)}
    result = values.get(b"ffres", _NO_RESULT)
    chosen = values.get(b"ffdefres", 0) if result == _NO_RESULT else result
    if values.get(b"fftype") == 1:
        return rb"{\uc1\u9746?}" if chosen else rb"{\uc1\u9744?}"
    entries = [data[each.end() : ends.get(each.start() + 1)] for each in _FORM_ENTRY.finditer(data, start, end)]
    return b"{%b}" % entries[chosen] if chosen < len(entries) else b""


def _with_strikes(data: bytes) -> bytes:
    """Write marks where text that is struck through begins and ends."""
    if not _STRIKE.search(data):
        return data
    pieces: list[bytes] = []
    outer: list[bool] = []
    struck = False
    at = 0
    for control in _CONTROL.finditer(data):
        word = control.group().rstrip()
        before = struck
        if word == b"{":
            outer.append(struck)
        elif word == b"}":
            struck = outer.pop() if outer else False
        else:
            struck = _SET_STRUCK.get(word, struck)
        if struck != before:
            pieces += [data[at : control.end()], (_STRUCK if struck else _NOT_STRUCK).encode()]
            at = control.end()
    return b"".join([*pieces, data[at:]])


def _struck(text: str) -> str:
    """Mark what is struck through as in Markdown, within lines and cells."""
    pieces: list[str] = []
    struck = False
    for piece in _STRUCK_PARTS.split(text):
        if piece in (_STRUCK, _NOT_STRUCK):
            struck = piece == _STRUCK
        else:
            pieces.append(Struck(piece) if struck and piece not in ("\n", "|") else piece)
    return joined(pieces)


def _end_of_group(data: bytes, start: int) -> int:
    """Return where the group ends that a position is in; -1 if it is too long."""
    depth = 0
    for control in _CONTROL.finditer(data, start, start + _MOST_LINK_BYTES):
        if control.group() == b"{":
            depth += 1
        elif control.group() == b"}":
            depth -= 1
            if depth < 0:
                return control.start()
    return -1


def _as_text(match: re.Match[bytes]) -> bytes:
    match match[1]:
        case b"footnote":
            return b" [Note:] "
        case b"annotation":
            return b" [Comment:] "
        case kind:
            return b"\\par " + kind.capitalize() + b": "


def _signature(inspected: InspectedFile) -> str:
    return RTF if inspected.head.lstrip().startswith(_SIGNATURE) else ""


FORMAT = Format(
    name="RTF document",
    media_types={RTF: (".rtf",)},
    parse=_parse,
    reads="paragraphs, numbered lists, tables, links, text boxes, footnotes, comments, headers and footers, check "
    "boxes and drop-down lists of forms",
    omits="hidden and deleted text, images and embedded objects",
    signature=_signature,
)
