"""Text, Markdown, TeX, logs, configuration, XML and source code, read as plain text in blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from memgpt_loader import decoding
from memgpt_loader.formats.spec import MARKDOWN, PLAIN, File, FileLimits, Format, PageText, Parsed
from memgpt_loader.notes import Notes

_CODE = (
    ".asm .bash .bat .c .cc .clj .cmake .cpp .cs .css .cxx .dart .diff .erl .ex .exs .f90 .fs .go .gradle .graphql "
    ".groovy .h .hpp .hs .java .jl .js .jsx .kt .less .lisp .lua .m .mjs .ml .mm .pas .patch .php .pl .pm .proto .ps1 "
    ".py .pyi .r .rb .rs .sass .scala .scm .scss .sh .sol .sql .swift .tcl .tf .ts .tsx .v .vb .vhd .vue .zig .zsh"
)
_PROSE = ".adoc .asciidoc .bib .log .nfo .org .po .rst .tex .text .textile .txt .wiki"
_XML = ".dbk .tei .xml .xsd .xsl .xslt"
XML = "application/xml"
_SETTINGS = ".cfg .conf .env .ini .properties .toml .yaml .yml"
# Encoding declarations of XML, Python, Emacs and CSS in the first lines.
_DECLARED = re.compile(rb"(?:coding\s*[:=]\s*[\"']?|@charset\s+\"|\\inputenc\w*\[)([-\w.]{2,40})")
_DECLARED_WITHIN = 200
_ESCAPED = re.compile(r"(?<!\\)(?:\\u[0-9A-Fa-f]{4})+")
"""Letters beyond Latin-1 in Java's files of properties."""


def parse(file: File, limits: FileLimits) -> Parsed:
    """Open a text file. It is streamed, because it may be larger than memory."""
    notes = Notes()
    return Parsed(1, _pieces(file, notes), notes)


def _pieces(file: File, notes: Notes) -> Iterator[PageText]:
    stream = file.open()
    declared = _DECLARED.search(stream.read(_DECLARED_WITHIN))
    stream.seek(0)
    encoding = declared[1].decode("ascii") if declared else ""
    for block in decoding.blocks(stream, encoding, notes, line_break="\n"):
        yield PageText(0, _ESCAPED.sub(_letters, block) if file.name.lower().endswith(".properties") else block)


def _letters(match: re.Match[str]) -> str:
    letters = bytes.fromhex(match.group().replace("\\u", "")).decode("utf-16-be", "replace")
    return decoding.writable(letters.replace("\x1b", ""))


FORMAT = Format(
    name="text file",
    media_types={
        PLAIN: tuple(f"{_PROSE} {_SETTINGS} {_CODE}".split()),
        MARKDOWN: (".md", ".markdown", ".mdx"),
        XML: tuple(_XML.split()),
    },
    parse=parse,
    reads="all text unchanged, in any common encoding, without terminal control codes",
    omits="bytes that cannot be decoded",
)
