"""Jupyter notebooks: text and code of the cells, and the text output of the code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from memgpt_loader import decoding
from memgpt_loader.formats.spec import File, FileLimits, Format, Parsed, broken, flowing
from memgpt_loader.markup import Blocks
from memgpt_loader.notes import NoteKind, Notes

NOTEBOOK = "application/x-ipynb+json"

_WHAT = "the notebook"


def _parse(file: File, limits: FileLimits) -> Parsed:
    notes = Notes()
    try:
        notebook = json.loads(decoding.decode(file.read(), notes=notes))
    except (ValueError, RecursionError) as error:
        raise broken(_WHAT, error) from error
    if not isinstance(notebook, dict):
        raise broken(_WHAT)
    blocks = Blocks()
    metadata = notebook.get("metadata")
    language = _language(metadata if isinstance(metadata, dict) else {})
    for number, cell in enumerate(_cells(notebook), start=1):
        source = _joined(cell.get("source", cell.get("input")))
        if cell.get("cell_type") == "code":
            blocks.verbatim(f"```{language}\n{source.strip()}\n```" if source.strip() else "")
            for words in _outputs(cell, number, notes):
                blocks.verbatim(words)
        else:
            blocks.verbatim(source.strip())
            attached = cell.get("attachments")
            if isinstance(attached, dict) and attached:
                notes.add(NoteKind.PICTURE, f"cell {number}", count=len(attached))
    return Parsed(1, flowing(blocks.text()), notes)


def _cells(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    sheets = notebook.get("worksheets")  # before version 4
    holders = [notebook, *(sheets if isinstance(sheets, list) else [])]
    for holder in holders:
        cells = holder.get("cells") if isinstance(holder, dict) else None
        yield from (cell for cell in cells if isinstance(cell, dict)) if isinstance(cells, list) else ()


def _language(metadata: dict[str, Any]) -> str:
    for key, name in (("language_info", "name"), ("kernelspec", "language")):
        value = metadata.get(key)
        if isinstance(value, dict) and isinstance(value.get(name), str):
            return str(value[name])
    return ""


def _outputs(cell: dict[str, Any], number: int, notes: Notes) -> Iterator[str]:
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else ():
        if not isinstance(output, dict):
            continue
        data = output.get("data", output)
        data = data if isinstance(data, dict) else {}
        traceback = output.get("traceback")
        if output.get("output_type") in ("error", "pyerr"):
            lines = [str(line) for line in traceback] if isinstance(traceback, list) else []
            words = "\n".join(lines) or f"{output.get('ename', '')}: {output.get('evalue', '')}"
        else:
            words = _shown(data, notes)
        if words := decoding.without_terminal_codes(words).strip():
            yield f"Output:\n{words}"
        elif any(str(kind).startswith("image/") or kind in ("png", "jpeg") for kind in data):
            notes.add(NoteKind.PICTURE, f"output of cell {number}")
        elif output.get("output_type") in ("display_data", "execute_result") and any(data.values()):
            notes.add(NoteKind.OBJECT, f"output of cell {number}")


def _shown(data: dict[str, Any], notes: Notes) -> str:
    for kind in ("text/markdown", "text/latex", "text/plain", "text"):
        words = _joined(data.get(kind))
        # The text of a plot, a page or a styled table only names its class, as "<Figure size 640x480>".
        if words.strip() and not (words.strip().startswith("<") and any(_is_richer(str(key)) for key in data)):
            return words
    if page := _joined(data.get("text/html", data.get("html"))):
        from memgpt_loader.formats.html_text import to_text

        return to_text(page, notes=notes)
    return ""


def _is_richer(kind: str) -> bool:
    return kind.startswith(("image/", "application/", "video/", "audio/")) or kind in (
        "text/html",
        "png",
        "jpeg",
        "html",
    )


def _joined(value: object) -> str:
    if isinstance(value, list):
        return "".join(each for each in value if isinstance(each, str))
    return value if isinstance(value, str) else ""


FORMAT = Format(
    name="notebook",
    media_types={NOTEBOOK: (".ipynb",)},
    parse=_parse,
    reads="text and code of the cells, and their text output",
    omits="images and interactive objects in the output",
)
