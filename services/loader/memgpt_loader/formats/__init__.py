"""The formats that are read, each declared in a module of its own.

| module | what |
| --- | --- |
| `spec` | what a format is, what its parser gets and returns |
| `registry` | the list of formats |
| `sniffing`, `probe` | which format a file is of |
| `notes` | what the text lacks that a person sees in the file |
| `office` | what office documents share: ZIP archives of XML within bounds, drawings, equations |
| `embedded` | files within files |

To add a format, write a module with a `FORMAT`, list it in `registry.FORMATS`, and add a test. A format imports its
libraries when the first file of their kind comes, in a parser process.
"""

from __future__ import annotations

from memgpt_loader.formats.notes import Note, NoteKind, Notes
from memgpt_loader.formats.registry import FORMATS, format_of, parse
from memgpt_loader.formats.sniffing import media_type_of
from memgpt_loader.formats.spec import File, Format, Limits, PageText, Parsed

__all__ = [
    "FORMATS",
    "VERSION",
    "File",
    "Format",
    "Limits",
    "Note",
    "NoteKind",
    "Notes",
    "PageText",
    "Parsed",
    "format_of",
    "media_type_of",
    "parse",
]

VERSION = 3
"""Part of the ids of passages. Raise it when the same file of any format would give another text."""
