"""Form controls on sheets, which are stored as shapes of an old drawing language (VML)."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from memgpt_loader.failures import FileFailure
from memgpt_loader.formats.office.packages import Package, attribute, local
from memgpt_loader.markup import one_line
from memgpt_loader.notes import NoteKind, Notes

_NAMES = {
    "checkbox": "Checkbox",
    "radio": "Option button",
    "button": "Button",
    "gbox": "Group",
    "groupbox": "Group",
    "label": "Label",
    "editbox": "Text field",
    "drop": "Drop-down",
    "list": "List",
    "spin": "Spinner",
    "scroll": "Scroll bar",
}
_WITH_STATE = ("checkbox", "radio")


def control_lines(package: Package, part: str, notes: Notes, where: str) -> list[tuple[str, str]]:
    """Return the label and the line of each form control of a drawing; comments have another kind.

    Args:
        package: The workbook.
        part: Name of the drawing.
        notes: Receives a note if the drawing is damaged.
        where: The sheet, for notes.
    """
    try:
        shapes = [each for each in package.root(part).iter() if local(each) in ("shape", "rect")]
    except FileFailure:
        notes.add(NoteKind.OBJECT, where)
        return []
    lines: list[tuple[str, str]] = []
    for shape in shapes:
        data = next((each for each in shape.iter() if local(each) == "ClientData"), None)
        kind = "" if data is None else attribute(data, "ObjectType").lower()
        if data is None or kind not in _NAMES:
            continue
        label = _label(shape)
        words = ": ".join(filter(None, (_NAMES[kind], " ".join(filter(None, (label, _state(kind, data)))))))
        if words != _NAMES[kind]:
            lines.append((label, words))
    return lines


def _label(shape: Element) -> str:
    boxes = (each for each in shape.iter() if local(each) == "textbox")
    return one_line(" ".join(text for box in boxes for text in box.itertext()))


def _state(kind: str, data: Element) -> str:
    values = {local(each): (each.text or "").strip() for each in data}
    if kind in _WITH_STATE:
        return {"1": "(checked)", "2": "(mixed)"}.get(values.get("Checked", ""), "(not checked)")
    if "FmlaRange" in values:
        chosen = values.get("Sel", "0")
        return f"choice {chosen} of {values['FmlaRange']}" if chosen != "0" else f"no choice of {values['FmlaRange']}"
    return values.get("Val", "") if kind in ("spin", "scroll") else ""
