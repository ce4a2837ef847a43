"""The supported document formats, each declared in its own module.

| module | what |
| --- | --- |
| `spec` | what a format is, what its parser gets and returns |
| `registry` | the list of formats |
| `sniffing`, `inspected_file` | how the format of a file is detected |
| `office` | code shared by office formats: bounded ZIP archives of XML, drawings, numbers |
| `equations`, `html_text`, `mail_headers`, `signed_data` | code shared by other formats |
| `embedded` | files within files |

To add a format, write a module with a `FORMAT`, list it in `registry.FORMATS`, and add a test. A format imports its
libraries when the first file of their kind comes, in a parser process.
"""

from __future__ import annotations

from memgpt_loader.formats.registry import FORMATS, format_of, parse
from memgpt_loader.formats.sniffing import media_type_of
from memgpt_loader.formats.spec import File, FileLimits, Format, PageText, Parsed
from memgpt_loader.notes import Note, NoteKind, Notes

__all__ = [
    "FORMATS",
    "VERSION",
    "File",
    "FileLimits",
    "Format",
    "Note",
    "NoteKind",
    "Notes",
    "PageText",
    "Parsed",
    "format_of",
    "media_type_of",
    "parse",
]

VERSION = 7
"""Part of passage ids. Increase it whenever a parser change makes any file yield different text."""
