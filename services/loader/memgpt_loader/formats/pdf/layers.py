"""Layers of a PDF that are not shown (optional content that is off)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

from pypdfium2 import PdfPage, raw

_MOST_OBJECTS = 60_000
_MOST_LEVELS = 4
_MOST_BYTES = 1_000


def hide_layers(page: PdfPage, hidden: frozenset[str]) -> frozenset[str]:
    """Take the objects of hidden layers off a page, and return the names of these layers.

    Args:
        page: The page, before its text is read.
        hidden: Names of the layers that are not shown.
    """
    found: set[str] = set()
    if hidden:
        objects = (raw.FPDFPage_GetObject(page, index) for index in range(raw.FPDFPage_CountObjects(page)))
        for number, each in enumerate(_with_inner(objects)):
            if number == _MOST_OBJECTS:
                break
            if layers := hidden.intersection(_layers(each)):
                found |= layers
                raw.FPDFPageObj_SetIsActive(each, False)
    return frozenset(found)


def _with_inner(objects: Iterator[Any], level: int = 0) -> Iterator[Any]:
    for each in objects:
        yield each
        if level < _MOST_LEVELS and raw.FPDFPageObj_GetType(each) == raw.FPDF_PAGEOBJ_FORM:
            count = raw.FPDFFormObj_CountObjects(each)
            yield from _with_inner((raw.FPDFFormObj_GetObject(each, index) for index in range(count)), level + 1)


def _layers(page_object: Any) -> Iterator[str]:
    """Yield the names of the layers that an object of a page is in."""
    for index in range(raw.FPDFPageObj_CountMarks(page_object)):
        mark = raw.FPDFPageObj_GetMark(page_object, index)
        buffer, size = (raw.FPDF_WCHAR * (_MOST_BYTES // 2))(), ctypes.c_ulong()
        if raw.FPDFPageObjMark_GetParamStringValue(mark, b"Name", buffer, _MOST_BYTES, size) and size.value >= 2:
            yield bytes(buffer)[: size.value - 2].decode("utf-16-le", "replace")
