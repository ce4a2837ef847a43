"""Layers of a PDF that are not shown (optional content, ISO 32000-1, 8.11)."""

from __future__ import annotations

import ctypes
import io
from collections.abc import Callable, Iterator
from typing import Any

from pypdf import PageObject, PdfReader, PdfWriter
from pypdf.errors import LimitReachedError
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    FloatObject,
    NameObject,
    TextStringObject,
)
from pypdfium2 import PdfPage, raw

from memgpt_loader.formats.pdf.objects import dictionary_of, items_of

_MOST_OBJECTS = 60_000
_MOST_LEVELS = 4
_MOST_BYTES = 1_000
_MOST_GROUPS = 5_000
_MOST_NESTED = 20
"""Maximum depth of nested conditions, and of forms in forms."""
_NAMELESS = "without a name"
_COPIED = ("/Type", "/MediaBox", "/CropBox", "/Rotate", "/UserUnit", "/Contents")
_HIDDEN_BY = "HiddenLayer"
"""The key under which a copy of a page names the layers that hide a piece of it."""


class Layers:
    """The layers of a document, as its default configuration shows them."""

    def __init__(self, reader: PdfReader) -> None:
        """Read the configuration; if it is damaged, all layers are shown."""
        self._groups: list[DictionaryObject] = []
        self._off: set[int] = set()
        self._met: dict[int, tuple[DictionaryObject, bool]] = {}
        try:
            self._read(reader)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - on malformed structures the library raises arbitrary exceptions
            self._off = set()
        names: dict[bool, set[str]] = {True: set(), False: set()}
        for each in self._groups:
            names[id(each) in self._off].add(_name(each))
        self.hidden = frozenset(names[True] - names[False] - {_NAMELESS})
        """Names of the hidden layers, except those that a shown layer has, too."""

    def _read(self, reader: PdfReader) -> None:
        root = dictionary_of(reader.trailer["/Root"])
        properties = dictionary_of(root.get("/OCProperties")) if root is not None else None
        state = dictionary_of(properties.get("/D")) if properties is not None else None
        if properties is None or state is None:
            return
        self._groups = [
            each for each in items_of(properties.get("/OCGs"))[:_MOST_GROUPS] if isinstance(each, DictionaryObject)
        ]
        off = {id(each) for each in items_of(state.get("/OFF"))[:_MOST_GROUPS]}
        if state.get("/BaseState") == "/OFF":
            shown = {id(each) for each in items_of(state.get("/ON"))[:_MOST_GROUPS]}
            off |= {id(each) for each in self._groups} - shown
        for usage in map(dictionary_of, items_of(state.get("/AS"))[:_MOST_GROUPS]):
            if usage is not None and usage.get("/Event") == "/View":
                for each in items_of(usage.get("/OCGs"))[:_MOST_GROUPS]:
                    _follow_usage(each, off)
        self._off = off

    def page_without_hidden(self, page: PageObject) -> bytes | None:
        """Return a copy of a page in which each piece that layers hide is marked with their names.

        PDFium tells the layers of marked content only by their names, and those of forms and pictures not at all.

        Returns:
            The copy, as a document of one page; None if names suffice.
        """
        try:
            if not self._off or not self._mark(page, 0):
                return None
            writer = PdfWriter()
            writer.add_page(_text_alone(page))
            target = io.BytesIO()
            writer.write(target)
            return target.getvalue()
        except (LimitReachedError, MemoryError):
            raise
        except Exception:  # noqa: BLE001 - see above; PDFium reads the page as it is
            return None

    def _mark(self, holder: DictionaryObject, depth: int) -> bool:
        """Mark the hidden pieces among the resources of a page or form. Returns whether there are any."""
        resources = dictionary_of(holder.get("/Resources"))
        if resources is None or depth > _MOST_NESTED:
            return False
        forms = self._once(resources.get("/XObject"), lambda listed: self._mark_forms(listed, depth))
        contents = self._once(resources.get("/Properties"), self._mark_contents)
        return forms or contents

    def _once(self, resource: Any, mark: Callable[[DictionaryObject], bool]) -> bool:
        """Mark what a resource lists, which pages and forms may share. Returns whether any of it is hidden."""
        listed = dictionary_of(resource)
        if listed is None:
            return False
        if id(listed) not in self._met:
            self._met[id(listed)] = listed, False  # forms may contain themselves
            self._met[id(listed)] = listed, mark(listed)
        return self._met[id(listed)][1]

    def _mark_forms(self, listed: DictionaryObject, depth: int) -> bool:
        found = False
        for name, each in list(listed.items()):
            painted = dictionary_of(each)
            if painted is None:
                continue
            if layers := self._hiding(painted.get("/OC")):
                listed[NameObject(name)] = _placeholder(layers)
                found = True
            elif painted.get("/Subtype") == "/Form":
                found |= self._mark(painted, depth + 1)
        return found

    def _mark_contents(self, listed: DictionaryObject) -> bool:
        found = False
        for name, each in list(listed.items()):
            layers = self._hiding(each)
            if layers and (layers not in self.hidden or "/OCGs" in each.get_object()):
                listed[NameObject(name)] = _marked(layers)
                found = True
        return found

    def _hiding(self, membership: Any) -> str:
        """Return the names of the layers that hide what belongs to a layer, or to several; empty if it is shown."""
        group = dictionary_of(membership)
        if group is None:
            return ""
        if group.get("/Type") != "/OCMD":
            return _name(group) if id(group) in self._off else ""
        listed = group.get("/OCGs")
        one = dictionary_of(listed)
        groups = [one] if one is not None else [each for each in map(dictionary_of, items_of(listed)) if each]
        expression = items_of(group.get("/VE"))
        if self._holds(expression, 0) if expression else self._fits(str(group.get("/P", "/AnyOn")), groups):
            return ""
        off = [_name(each) for each in groups if id(each) in self._off]
        return ", ".join(off or map(_name, groups)) or _NAMELESS

    def _fits(self, policy: str, groups: list[DictionaryObject]) -> bool:
        shown = [id(each) not in self._off for each in groups]
        match policy:
            case "/AllOn":
                return all(shown)
            case "/AnyOff":
                return not all(shown) or not shown
            case "/AllOff":
                return not any(shown)
            case _:
                return any(shown) or not shown

    def _holds(self, expression: list[Any], depth: int) -> bool:
        operator, *operands = expression or [""]
        if depth > _MOST_NESTED:
            return True
        values = [
            self._holds(items_of(each), depth + 1) if isinstance(each, ArrayObject) else id(each) not in self._off
            for each in operands
        ]
        match operator:
            case "/Not":
                return not all(values)
            case "/Or":
                return any(values)
            case _:
                return all(values)


def _text_alone(page: PageObject) -> PageObject:
    """Return a page without pictures and what leads to other pages or to data of programs: each copy would have it."""
    resources = DictionaryObject(dictionary_of(page["/Resources"]) or {})
    painted = dictionary_of(resources.get("/XObject")) or DictionaryObject()
    forms = {
        name: painted.raw_get(name)
        for name, each in painted.items()
        if (inner := dictionary_of(each)) is not None and inner.get("/Subtype") != "/Image"
    }
    resources[NameObject("/XObject")] = DictionaryObject(forms)
    slim = PageObject()
    slim.update({key: page.raw_get(key) for key in _COPIED if key in page})
    slim[NameObject("/Resources")] = resources
    return slim


def _follow_usage(group: Any, off: set[int]) -> None:
    """Show or hide a layer as its usage for viewing says; its usages for printing and export do not count."""
    usage = dictionary_of(group.get("/Usage")) if isinstance(group, DictionaryObject) else None
    view = dictionary_of(usage.get("/View")) if usage is not None else None
    match view.get("/ViewState") if view is not None else None:
        case "/OFF":
            off.add(id(group))
        case "/ON":
            off.discard(id(group))


def _name(group: DictionaryObject) -> str:
    return str(group.get("/Name") or "") or _NAMELESS


def _marked(layers: str) -> DictionaryObject:
    return DictionaryObject({NameObject(f"/{_HIDDEN_BY}"): TextStringObject(layers)})


def _placeholder(layers: str) -> DecodedStreamObject:
    """Return a form in place of a hidden one or a hidden picture."""
    form = DecodedStreamObject()
    form.set_data(b"/OC /Hidden BDC 0 0 1 1 re f EMC")
    form[NameObject("/Type")] = NameObject("/XObject")
    form[NameObject("/Subtype")] = NameObject("/Form")
    form[NameObject("/BBox")] = ArrayObject(map(FloatObject, (0, 0, 1, 1)))
    form[NameObject("/Resources")] = DictionaryObject(
        {NameObject("/Properties"): DictionaryObject({NameObject("/Hidden"): _marked(layers)})}
    )
    return form


def hide_layers(page: PdfPage, hidden: frozenset[str]) -> frozenset[str]:
    """Take the objects of hidden layers off a page, and return the names of these layers.

    Args:
        page: The page or its copy, before its text is read.
        hidden: Names of the layers that are not shown.
    """
    found: set[str] = set()
    objects = (raw.FPDFPage_GetObject(page, index) for index in range(raw.FPDFPage_CountObjects(page)))
    for number, each in enumerate(with_inner(objects)):
        if number == _MOST_OBJECTS:
            break
        if layers := {*hidden.intersection(_values(each, "Name")), *_values(each, _HIDDEN_BY)}:
            found |= layers
            raw.FPDFPageObj_SetIsActive(each, False)
    return frozenset(found)


def with_inner(objects: Iterator[Any], level: int = 0) -> Iterator[Any]:
    """Yield the objects of a page, and those within its forms."""
    for each in objects:
        yield each
        if level < _MOST_LEVELS and raw.FPDFPageObj_GetType(each) == raw.FPDF_PAGEOBJ_FORM:
            count = raw.FPDFFormObj_CountObjects(each)
            yield from with_inner((raw.FPDFFormObj_GetObject(each, index) for index in range(count)), level + 1)


def _values(page_object: Any, key: str) -> Iterator[str]:
    """Yield what the marks of an object of a page say under a key."""
    for index in range(raw.FPDFPageObj_CountMarks(page_object)):
        mark = raw.FPDFPageObj_GetMark(page_object, index)
        buffer, size = (raw.FPDF_WCHAR * (_MOST_BYTES // 2))(), ctypes.c_ulong()
        given = raw.FPDFPageObjMark_GetParamStringValue(mark, key.encode(), buffer, _MOST_BYTES, size)
        if given and size.value >= 2:
            yield bytes(buffer)[: size.value - 2].decode("utf-16-le", "replace")
