"""Calendars: an event is a paragraph with its title, times, place, people and description."""

from __future__ import annotations

import re
from collections.abc import Iterator

from memgpt_loader import decoding
from memgpt_loader.formats.inspected_file import InspectedFile
from memgpt_loader.formats.spec import File, FileLimits, Format, Parsed, flowing
from memgpt_loader.markup import Blocks, one_line
from memgpt_loader.notes import Notes

CALENDAR = "text/calendar"

_LABELS = {
    "SUMMARY": "",
    "DTSTART": "Start",
    "DTEND": "End",
    "DUE": "Due",
    "DURATION": "Duration",
    "RRULE": "Repeats",
    "LOCATION": "Place",
    "ORGANIZER": "Organizer",
    "ATTENDEE": "Attendee",
    "STATUS": "Status",
    "URL": "Address",
    "DESCRIPTION": "Description",
    "COMMENT": "Comment",
}
_KINDS = ("VEVENT", "VTODO", "VJOURNAL")
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)\d\d(Z?))?")
_HEAD = re.compile(r'(?:[^":]|"[^"]*")*:')
_FOLDED = re.compile(r"\n[ \t]")
_ESCAPED = re.compile(r"\\([\\;,nN])")


def calendar_text(source: str) -> str:
    """Return the events of a calendar (RFC 5545), each as a block of lines."""
    blocks = Blocks()
    for event in _events(_FOLDED.sub("", source.replace("\r\n", "\n"))):
        blocks.paragraph("\n".join(event))
    return blocks.text()


def _events(source: str) -> Iterator[list[str]]:
    lines: list[str] = []
    within = ""
    for line in source.split("\n"):
        head, value = _halves(line)
        name, *parameters = _parts(head)
        name = name.upper()
        if name == "BEGIN" and value.strip().upper() in _KINDS:
            within, lines = value.strip().upper(), []
        elif name == "END" and value.strip().upper() == within:
            yield lines
            within = ""
        elif within and name in _LABELS and (words := _value(name, value, parameters)):
            lines.append(f"{_LABELS[name]}: {words}" if _LABELS[name] else words)
    if within and lines:  # the file is cut off
        yield lines


def _halves(line: str) -> tuple[str, str]:
    """Return what is before and after the first colon outside of quotes."""
    match = _HEAD.match(line)
    end = match.end() if match else line.find(":") + 1 or len(line) + 1
    return line[: end - 1], line[end:]


def _parts(head: str) -> list[str]:
    return head.split(";") if '"' not in head else re.findall(r'(?:"[^"]*"|[^;"])+', head) or [head]


def _value(name: str, value: str, parameters: list[str]) -> str:
    given = {key.upper(): one_line(word.strip('"')) for key, _, word in (each.partition("=") for each in parameters)}
    if name in ("DTSTART", "DTEND", "DUE"):
        return " ".join(filter(None, (_time(value.strip()), given.get("TZID", ""))))
    words = one_line(_ESCAPED.sub(lambda match: " " if match[1] in "nN" else match[1], value))
    if name in ("ORGANIZER", "ATTENDEE"):
        address = re.sub("^mailto:", "", words, flags=re.IGNORECASE)
        return f"{given['CN']} <{address}>" if given.get("CN") else address
    return words


def _time(value: str) -> str:
    match = _TIME.fullmatch(value)
    if match is None:
        return value
    day = "-".join(match.group(1, 2, 3))
    return day if match[4] is None else f"{day} {match[4]}:{match[5]}{' UTC' if match[6] else ''}"


def _parse(file: File, limits: FileLimits) -> Parsed:
    notes = Notes()
    source = decoding.decode(file.read(), notes=notes)
    return Parsed(1, flowing(calendar_text(source) or source), notes)


def _signature(inspected: InspectedFile) -> str:
    return CALENDAR if inspected.head.lstrip(b"\xef\xbb\xbf\r\n ").upper().startswith(b"BEGIN:VCALENDAR") else ""


FORMAT = Format(
    name="calendar",
    media_types={CALENDAR: (".ics", ".ical")},
    parse=_parse,
    reads="events and tasks with their titles, times, places, people and descriptions",
    signature=_signature,
)
