"""Form fields and attached files of a PDF, read with pypdf within its limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from pypdf import PdfReader
from pypdf.generic import ArrayObject, DictionaryObject, IndirectObject, StreamObject, TextStringObject

from memgpt_loader.formats.pdf.objects import dictionary_of, items_of

_MOST_PARENTS = 20
_MOST_FIELDS = 5000
_MOST_ATTACHMENTS = 500
_MOST_NODES = 5000


def field_lines(page: DictionaryObject) -> list[str]:
    """Return the filled form fields on a page, each with its label: "Applicant: Ada"."""
    lines: list[str] = []
    for annotation in items_of(page.get("/Annots"))[:_MOST_FIELDS]:
        if not isinstance(annotation, DictionaryObject) or annotation.get("/Subtype") != "/Widget":
            continue
        value = _shown(_inherited(annotation, "/FT"), _inherited(annotation, "/V"), annotation)
        if value:
            label = _text(_inherited(annotation, "/TU")) or _text(_inherited(annotation, "/T"))
            line = f"{label}: {value}" if label else value
            if line not in lines:  # a field may appear several times
                lines.append(line)
    return lines


def is_dynamic_form(reader: PdfReader) -> bool:
    """Whether the file holds a form whose pages only Adobe's programs can draw; others show a notice instead."""
    root = dictionary_of(reader.trailer["/Root"])
    form = dictionary_of(root.get("/AcroForm")) if root is not None else None
    if root is None or form is None or "/XFA" not in form:
        return False
    return bool(getattr(root.get("/NeedsRendering"), "value", False)) or not items_of(form.get("/Fields"))


def _shown(kind: Any, value: Any, annotation: DictionaryObject) -> str:
    match kind:
        case "/Btn":
            state = annotation.get("/AS")
            if state is None:
                state = value
            if state in (None, "/Off", "/"):
                return ""
            chosen = str(state).removeprefix("/")
            options = [shown for _, shown in _options(annotation)]
            if chosen.isdecimal() and len(chosen) < 5 and int(chosen) < len(options):  # of a group of buttons
                return options[int(chosen)]
            return "yes" if chosen.lower() in ("yes", "on", "1", "true") else chosen
        case "/Sig":
            name = _text(value.get("/Name")) if isinstance(value, DictionaryObject) else ""
            return f"signed by {name}" if name else "signed" if value is not None else ""
        case "/Ch":
            shown = dict(_options(annotation))
            chosen_ones = map(_text, value if isinstance(value, ArrayObject) else [value])
            return ", ".join(filter(None, (shown.get(one, one) for one in chosen_ones)))
        case _ if isinstance(value, ArrayObject):
            return ", ".join(filter(None, map(_text, value)))
        case _:
            return _text(value)


def _options(field: DictionaryObject) -> list[tuple[str, str]]:
    """Return the value of each option of a field, and what it shows; several buttons may have the same value."""
    found: list[tuple[str, str]] = []
    for option in items_of(_inherited(field, "/Opt"))[:_MOST_FIELDS]:
        pair = items_of(option) if isinstance(option, ArrayObject) else [option]
        found.append((_text(pair[0]), _text(pair[-1])) if pair else ("", ""))
    return found


def _inherited(field: DictionaryObject, key: str) -> Any:
    for _ in range(_MOST_PARENTS):
        if (value := field.get(key)) is not None:
            return value.get_object()
        parent = field.get("/Parent")
        parent = None if parent is None else parent.get_object()
        if not isinstance(parent, DictionaryObject):
            break
        field = parent
    return None


def _text(value: Any) -> str:
    value = None if value is None else value.get_object() if hasattr(value, "get_object") else value
    if isinstance(value, StreamObject):
        return " ".join(value.get_data().decode("utf-8", "replace").split())
    return " ".join(str(value).split()) if isinstance(value, TextStringObject) else ""


@dataclass(frozen=True)
class AttachedFile:
    """An attached file."""

    name: str
    stream: StreamObject
    number: int
    """Number of its PDF object; 0 if it has none."""


def attachments(reader: PdfReader) -> list[AttachedFile]:
    """Return the files attached to a document or collected in a portfolio, without repetitions."""
    root = cast("DictionaryObject", reader.trailer["/Root"].get_object())
    names = dictionary_of(root.get("/Names"))
    tree = dictionary_of(names.get("/EmbeddedFiles")) if names is not None else None
    waiting = [tree] if tree is not None else []
    found: dict[int, AttachedFile] = {}
    visited = 0
    while waiting and visited < _MOST_NODES:
        node = waiting.pop(0)
        visited += 1
        _gather(items_of(node.get("/Names")), found)
        waiting += [kid for kid in items_of(node.get("/Kids")) if isinstance(kid, DictionaryObject)]
    _gather(items_of(root.get("/AF")), found)
    return list(found.values())


def page_attachments(page: DictionaryObject) -> list[AttachedFile]:
    """Return the files of the attachment annotations on a page."""
    found: dict[int, AttachedFile] = {}
    for annotation in items_of(page.get("/Annots"))[:_MOST_FIELDS]:
        if isinstance(annotation, DictionaryObject) and annotation.get("/Subtype") == "/FileAttachment":
            _gather([dictionary_of(annotation.get("/FS"))], found)
    return list(found.values())


def _gather(specifications: list[Any], found: dict[int, AttachedFile]) -> None:
    for each in specifications:
        streams = dictionary_of(each.get("/EF")) if isinstance(each, DictionaryObject) else None
        if streams is None or len(found) >= _MOST_ATTACHMENTS:
            continue
        key = next((key for key in ("/UF", "/F") if key in streams), None)
        reference = None if key is None else streams.raw_get(key)
        stream = None if reference is None else reference.get_object()
        if isinstance(stream, StreamObject):
            number = reference.idnum if isinstance(reference, IndirectObject) else -len(found)
            name = _text(each.get("/UF")) or _text(each.get("/F")) or "attachment"
            found.setdefault(number, AttachedFile(name, stream, max(number, 0)))
