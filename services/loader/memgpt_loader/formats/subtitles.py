"""Subtitles: the spoken lines, without numbers and times."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from itertools import zip_longest

from memgpt_loader import decoding
from memgpt_loader.formats.inspected_file import InspectedFile
from memgpt_loader.formats.spec import File, FileLimits, Format, Parsed, flowing
from memgpt_loader.markup import one_line
from memgpt_loader.notes import Notes

VTT = "text/vtt"
SRT = "application/x-subrip"
ASS = "text/x-ssa"

_TIMES = re.compile(r"\s*(?:\d+:)?\d{1,2}:\d\d[.,]\d{1,3}\s*(?:-->|,)\s*(?:\d+:)?\d{1,2}:\d\d[.,]\d{1,3}.*")
_SPEAKER = re.compile(r"<v(?:\.[\w.-]+)?\s+([^<>\s][^<>]*)>")
_TAG = re.compile(r"</?[A-Za-z][^>]{0,100}>|<\d[\d:.]*>|\{\\[^{}]*\}")
_NAME = 4
"""The field of a dialogue line that names the speaker."""
_HEADERS = ("WEBVTT", "NOTE", "STYLE", "REGION")


def spoken(source: str, media_type: str) -> Iterator[str]:
    """Yield the displayed lines in order, without immediate repetitions."""
    cues = _dialogue(source) if media_type == ASS else _cues(source)
    before = ""
    for cue in cues:
        speaker = _SPEAKER.search(cue)
        words = one_line(html.unescape(_TAG.sub("", _SPEAKER.sub("", cue))))
        if words and words != before:
            before = words
            yield f"{one_line(speaker[1])}: {words}" if speaker else words


def _cues(source: str) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", source):
        lines = block.strip("\n").split("\n")
        if lines[0].startswith(_HEADERS) and not any(map(_TIMES.fullmatch, lines)):
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
            yield speaker + words.replace("\\N", " ").replace("\\n", " ").replace("\\h", " ")


def _parse(file: File, limits: FileLimits) -> Parsed:
    notes = Notes()
    return Parsed(1, flowing("\n".join(spoken(decoding.decode(file.read(), notes=notes), file.media_type))), notes)


def _signature(inspected: InspectedFile) -> str:
    return (
        VTT if inspected.head.removeprefix(b"\xef\xbb\xbf").startswith((b"WEBVTT\n", b"WEBVTT\r", b"WEBVTT ")) else ""
    )


FORMAT = Format(
    name="subtitle file",
    media_types={SRT: (".srt", ".sbv"), VTT: (".vtt",), ASS: (".ass", ".ssa")},
    parse=_parse,
    reads="spoken text, with speaker names where present, without timestamps",
    omits="bytes that cannot be decoded",
    signature=_signature,
)
