"""Calendars: an event is a paragraph with its title, times, place, people and description."""

from __future__ import annotations

import quopri
import re
from collections.abc import Iterator

from memgpt_loader import decoding
from memgpt_loader.failures import FileFailure
from memgpt_loader.formats.inspected_file import InspectedFile
from memgpt_loader.formats.spec import File, FileLimits, Format, Parsed, flowing
from memgpt_loader.markup import Blocks, one_line
from memgpt_loader.notes import NoteKind, Notes

CALENDAR = "text/calendar"

_LABELS = {
    "SUMMARY": "",
    "DTSTART": "Start",
    "DTEND": "End",
    "DUE": "Due",
    "COMPLETED": "Completed",
    "RECURRENCE-ID": "Instead of",
    "DURATION": "Duration",
    "RRULE": "Repeats",
    "RDATE": "Also on",
    "EXDATE": "Not on",
    "FREEBUSY": "Busy",
    "LOCATION": "Place",
    "ORGANIZER": "Organizer",
    "ATTENDEE": "Attendee",
    "STATUS": "Status",
    "PERCENT-COMPLETE": "Percent done",
    "PRIORITY": "Priority",
    "GEO": "Position",
    "URL": "Address",
    "CONFERENCE": "Conference",
    "CONTACT": "Contact",
    "RESOURCES": "Resources",
    "CATEGORIES": "Categories",
    "ATTACH": "Attachment",
    "DESCRIPTION": "Description",
    "COMMENT": "Comment",
}
_KINDS = ("VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY")
_TIMES = ("DTSTART", "DTEND", "DUE", "COMPLETED", "RECURRENCE-ID", "RDATE", "EXDATE")
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)\d\d(Z?))?")
_HEAD = re.compile(r'(?:[^":]|"[^"]*")*:')
_FOLDED = re.compile(r"\n[ \t]")
_QUOTED = re.compile(r"^([^:\n]*;(?:ENCODING=)?QUOTED-PRINTABLE[^:\n]*):((?:[^\n]*=\n)*[^\n]*)", re.I | re.M)
"""A value of version 1.0, in which an equals sign at the end of a line continues the value."""
_ESCAPED = re.compile(r"\\([\\;,nN])")


def calendar_text(source: str, notes: Notes | None = None) -> str:
    """Return the events of a calendar (RFC 5545), each as a block of lines.

    Args:
        source: The calendar.
        notes: Receives notes on attached files.
    """
    blocks = Blocks()
    for event in _events(unfolded(source), notes):
        blocks.paragraph("\n".join(event))
    return blocks.text()


def unfolded(source: str) -> str:
    """Return the lines of a calendar or of contacts, each whole and decoded."""
    return _FOLDED.sub("", _QUOTED.sub(_unquoted, source.replace("\r\n", "\n")))


def _unquoted(match: re.Match[str]) -> str:
    encoded = match[2].replace("=\n", "").encode("utf-8", "surrogateescape")
    charset = re.search(r"CHARSET=([\w.-]+)", match[1], re.IGNORECASE)
    data = quopri.decodestring(encoded)
    try:
        words = decoding.decode(data, charset[1] if charset else "")
    except FileFailure:  # there is no text
        words = ""
    lines = words.replace("\\", "\\\\").strip().replace("\n", "\\n")
    return f"{match[1]}:{lines}"


def _events(source: str, notes: Notes | None) -> Iterator[list[str]]:
    lines: list[str] = []
    page = ""
    within, alarm = "", False
    for line in source.split("\n"):
        head, value = halves(line)
        name, *parameters = parts(head)
        name = name.upper()
        if name in ("BEGIN", "END") and value.strip().upper() == "VALARM":
            alarm = name == "BEGIN"
        elif name == "BEGIN" and value.strip().upper() in _KINDS:
            within, lines, page = value.strip().upper(), [], ""
        elif name == "X-ALT-DESC" and within and not alarm:
            page = value
        elif name == "END" and value.strip().upper() == within:
            if page and not any(each.startswith("Description: ") for each in lines):
                lines.append(f"Description: {_page_text(page)}")
            yield lines
            within = ""
        elif name == "ATTACH" and not alarm and "://" not in value:
            if notes is not None:
                notes.add(NoteKind.ATTACHMENT)
        elif name == "X-WR-CALNAME" and not within and value.strip():
            yield [unescaped(value)]
        elif within and not alarm and name in _LABELS and (words := _value(name, value, parameters)):
            lines.append(f"{_LABELS[name]}: {words}" if _LABELS[name] else words)
    if within and lines:  # the file is cut off
        yield lines


def _page_text(page: str) -> str:
    """Return the text of a description that is a web page."""
    from memgpt_loader.formats.html_text import to_text

    return one_line(to_text(unescaped(page), title=False))


def halves(line: str) -> tuple[str, str]:
    """Return what is before and after the first colon outside of quotes."""
    match = _HEAD.match(line)
    end = match.end() if match else line.find(":") + 1 or len(line) + 1
    return line[: end - 1], line[end:]


def parts(head: str) -> list[str]:
    """Return the name and the parameters before a value."""
    return head.split(";") if '"' not in head else re.findall(r'(?:"[^"]*"|[^;"])+', head) or [head]


def _value(name: str, value: str, parameters: list[str]) -> str:
    given = {key.upper(): one_line(word.strip('"')) for key, _, word in (each.partition("=") for each in parameters)}
    if name in _TIMES:
        times = ", ".join(_time(each.strip()) for each in value.split(","))
        return " ".join(filter(None, (times, given.get("TZID", ""))))
    words = unescaped(value)
    if name in ("ORGANIZER", "ATTENDEE"):
        address = re.sub("^mailto:", "", words, flags=re.IGNORECASE)
        return f"{given['CN']} <{address}>" if given.get("CN") else address
    return words


def unescaped(value: str) -> str:
    """Return a value as one line."""
    return one_line(_ESCAPED.sub(lambda match: " " if match[1] in "nN" else match[1], value))


def _time(value: str) -> str:
    match = _TIME.fullmatch(value)
    if match is None:
        return value
    day = "-".join(match.group(1, 2, 3))
    return day if match[4] is None else f"{day} {match[4]}:{match[5]}{' UTC' if match[6] else ''}"


def _parse(file: File, limits: FileLimits) -> Parsed:
    notes = Notes()
    source = decoding.decode(file.read(), notes=notes)
    return Parsed(1, flowing(calendar_text(source, notes) or source), notes)


def _signature(inspected: InspectedFile) -> str:
    return CALENDAR if inspected.head.lstrip(b"\xef\xbb\xbf\r\n ").upper().startswith(b"BEGIN:VCALENDAR") else ""


FORMAT = Format(
    name="calendar",
    media_types={CALENDAR: (".ics", ".ical")},
    parse=_parse,
    reads="events and tasks with their titles, times, places, people, categories and descriptions",
    omits="attached files",
    signature=_signature,
)
