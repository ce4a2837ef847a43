"""Subtitles: the spoken lines, without numbers and times."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterator
from itertools import zip_longest

from memgpt_loader import decoding
from memgpt_loader.formats.inspected_file import InspectedFile
from memgpt_loader.formats.office.packages import local, parse_elements
from memgpt_loader.formats.spec import File, FileLimits, Format, Parsed, flowing
from memgpt_loader.markup import one_line
from memgpt_loader.notes import Notes

VTT = "text/vtt"
SRT = "application/x-subrip"
ASS = "text/x-ssa"
TTML = "application/ttml+xml"
SAMI = "application/x-sami"
MICRODVD = "text/x-microdvd"
LYRICS = "text/x-lrc"

_TIMES = re.compile(r"\s*(?:\d+:)?\d{1,2}:\d\d[.,]\d{1,3}\s*(?:-->|,)\s*(?:\d+:)?\d{1,2}:\d\d[.,]\d{1,3}.*")
_SPEAKER = re.compile(r"<v(?:\.[\w.-]+)?\s+([^<>\s][^<>]*)>")
_TAG = re.compile(r"<rt>[^<]*(?:</rt>)?|</?[A-Za-z][^>]{0,100}>|<\d[\d:.]*>|\{\\[^{}]*\}")
_BREAK = re.compile(r"\\N|\[br\]|<br\s*/?>|<BR\s*/?>")
_OVERRIDE = re.compile(r"\{(\\[^{}]*)\}")
_DRAWING = re.compile(r"\\p(\d)")
"""Begins an outline, which is no words, or ends it with 0."""
_NAME = 4
"""The field of a dialogue line that names the speaker."""
_SYNC = re.compile(r"<sync\b[^<>]{0,200}>", re.IGNORECASE)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_FRAME_RATE = re.compile(r"\s*\{1\}\{1\}[\d.,]+[^\S\n]*\n")
_FRAMES = re.compile(r"^\{\d+\}\{\d*\}", re.MULTILINE)
_CONTROL = re.compile(r"\{[A-Za-z]:[^{}]{0,100}\}")
_SUNG = re.compile(r"\[\d{1,3}:\d\d(?:[.:]\d{1,3})?\]|<\d{1,3}:\d\d(?:[.:]\d{1,3})?>")
_ABOUT = re.compile(r"\[(?:al|ar|au|by|ti):\s*([^\[\]]*)\]", re.IGNORECASE)
_OFFSET = re.compile(r"\[(?:length|offset|re|ve|#):?[^\[\]]*\]", re.IGNORECASE)
_DECLARATION = re.compile(r"^\s*<\?xml[^<>]*\?>")
_HEADERS = ("WEBVTT", "NOTE", "STYLE", "REGION")


def spoken(source: str, media_type: str) -> Iterator[str]:
    """Yield the displayed lines in order, without immediate repetitions."""
    before = ""
    cues = _READERS.get(media_type, _cues)(source)
    for cue in cues:
        spoken_by = " ".join(filter(None, _voices(cue)))
        if spoken_by and spoken_by != before:
            before = spoken_by
            yield spoken_by


def _voices(cue: str) -> Iterator[str]:
    """Yield what each speaker says in a cue, with their names."""
    first, *others = _SPEAKER.split(_without_drawings(cue))
    yield _shown(first)
    for speaker, words in zip(others[::2], others[1::2], strict=True):
        if shown := _shown(words):
            yield f"{one_line(speaker)}: {shown}"


def _without_drawings(cue: str) -> str:
    pieces: list[str] = []
    at, is_drawn = 0, False
    for match in _OVERRIDE.finditer(cue):
        pieces.append("" if is_drawn else cue[at : match.start()])
        at = match.end()
        if levels := _DRAWING.findall(match[1]):
            is_drawn = levels[-1] != "0"
    return "".join([*pieces, "" if is_drawn else cue[at:]])


def _shown(words: str) -> str:
    return one_line(html.unescape(_TAG.sub("", _BREAK.sub(" ", words))))


def _cues(source: str, headers: tuple[str, ...] = ()) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", source):
        lines = block.strip("\n").split("\n")
        if lines[0].startswith(headers) and not any(map(_TIMES.fullmatch, lines)):
            continue
        times = [index for index, line in enumerate(lines) if _TIMES.fullmatch(line)]
        if not times:
            yield " ".join(lines)
        for at, following in zip_longest(times, times[1:]):  # there may be no blank line between cues
            cue = lines[at + 1 : following]
            if following is not None and cue and cue[-1].strip().isdecimal():
                cue.pop()  # the number of the next cue
            yield " ".join(cue)


def _dialogue(source: str) -> Iterator[str]:
    for line in source.split("\n"):
        if line.startswith("Dialogue:"):
            *fields, words = line.split(",", 9)
            speaker = f"<v {fields[_NAME]}>" if len(fields) > _NAME and fields[_NAME].strip() else ""
            yield speaker + words.replace("\\n", " ").replace("\\h", " ")


def _paragraphs(source: str) -> Iterator[str]:
    """Yield the paragraphs of Timed Text."""
    stream = io.BytesIO(_DECLARATION.sub("", source).encode())
    for event, element in parse_elements(stream, "the subtitle file"):
        if event == "end" and local(element) == "p":
            for each in element.iter():
                if local(each) == "br":
                    each.text = " "
            yield html.escape("".join(element.itertext()))


def _synchronized(source: str) -> Iterator[str]:
    """Yield the cues of SAMI, a kind of HTML."""
    for cue in _SYNC.split(source)[1:]:
        yield _COMMENT.sub("", cue)


def _by_frames(source: str) -> Iterator[str]:
    """Yield the cues of MicroDVD, which tell frames; other kinds of subtitles have the same file extension."""
    if _FRAMES.search(source) is None:
        yield from _cues(source)
        return
    rate = _FRAME_RATE.match(source)
    for line in _FRAMES.sub("", source[rate.end() if rate else 0 :]).split("\n"):
        yield _CONTROL.sub("", line).replace("|", " ")


def _sung(source: str) -> Iterator[str]:
    """Yield the lines of a song."""
    yield from _OFFSET.sub("", _ABOUT.sub(r"\1", _SUNG.sub("", source))).split("\n")


def _captions(source: str) -> Iterator[str]:
    """Yield the cues of WebVTT."""
    yield from _cues(source, _HEADERS)


_READERS: dict[str, Callable[[str], Iterator[str]]] = {
    VTT: _captions,
    ASS: _dialogue,
    TTML: _paragraphs,
    SAMI: _synchronized,
    MICRODVD: _by_frames,
    LYRICS: _sung,
}


def _parse(file: File, limits: FileLimits) -> Parsed:
    notes = Notes()
    return Parsed(1, flowing("\n".join(spoken(decoding.decode(file.read(), notes=notes), file.media_type))), notes)


def _signature(inspected: InspectedFile) -> str:
    return (
        VTT if inspected.head.removeprefix(b"\xef\xbb\xbf").startswith((b"WEBVTT\n", b"WEBVTT\r", b"WEBVTT ")) else ""
    )


FORMAT = Format(
    name="subtitle file",
    media_types={
        SRT: (".srt", ".sbv"),
        VTT: (".vtt",),
        ASS: (".ass", ".ssa"),
        TTML: (".ttml", ".dfxp"),
        SAMI: (".smi", ".sami"),
        MICRODVD: (".sub",),
        LYRICS: (".lrc",),
    },
    parse=_parse,
    reads="spoken text, with speaker names where present, without timestamps",
    omits="bytes that cannot be decoded",
    signature=_signature,
)
