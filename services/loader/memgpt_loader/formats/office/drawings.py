"""Text in charts and diagrams of office documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element

from memgpt_loader.formats.office.number_format import displayed
from memgpt_loader.formats.office.packages import Package, Relationship, attribute, local, relationship_id
from memgpt_loader.markup import one_line
from memgpt_loader.notes import NoteKind, Notes

_MOST_POINTS = 5000
_AXES = ("catAx", "valAx", "dateAx", "serAx")


class Drawings:
    """Reads the charts, diagrams and pictures that a part of a document refers to."""

    def __init__(self, package: Package, parts: Mapping[str, Relationship], notes: Notes, where: str = "") -> None:
        """Read the drawings of one part.

        Args:
            package: The document.
            parts: Relationships of the part.
            notes: Receives notes on drawings without text.
            where: The page or sheet, for notes.
        """
        self._package = package
        self._parts = parts
        self._notes = notes
        self._where = where

    def lines(self, element: Element) -> list[str]:
        """Return the text of the drawings in an element (`w:drawing`, `p:graphicFrame`) except text boxes, as lines."""
        found: list[str] = []
        shown = False
        for each in element.iter():
            match local(each):
                case "chart" if part := self._part(relationship_id(each)):
                    found += [*chart_lines(self._package.root(part)), *self._text_on_chart(part)]
                    shown = True
                case "relIds" if part := self._part(attribute(each, "dm")):
                    found += diagram_lines(self._package.root(part))
                    shown = True
                case "oleObj" | "OLEObject":
                    self._notes.add(NoteKind.OBJECT, self._where or attribute(each, "progId"))
                    shown = True
        pictures = any(local(each) in ("pic", "blip", "imagedata", "contentPart") for each in element.iter())
        words = description(element)
        if words and (pictures or not shown):
            found.append(f"[Picture: {words}]")
        elif pictures and not shown and not _is_decorative(element):
            self._notes.add(NoteKind.PICTURE, self._where)
        return found

    def _text_on_chart(self, chart: str) -> Iterator[str]:
        """Yield the text boxes that lie on a chart."""
        for each in self._package.relationships(chart).values():
            if each.kind == "chartUserShapes" and each.target in self._package.names:
                yield from filter(None, plain_text(self._package.root(each.target)).split("\n"))

    def _part(self, id_: str) -> str:
        related = self._parts.get(id_)
        if related is None:
            return ""
        if related.target in self._package.names:
            return related.target
        self._notes.add(NoteKind.MISSING_PART, related.target)
        return ""


def description(element: Element) -> str:
    """Return the alternative text of a picture or shape from its properties, or else its title."""
    for each in element.iter():
        words = ""
        if local(each) in ("docPr", "cNvPr"):
            words = one_line(each.get("descr") or each.get("title") or "")
        elif local(each) in ("imagedata", "shape"):
            words = one_line(each.get("alt") or attribute(each, "title"))
        if words:
            return words
    return ""


def _is_decorative(element: Element) -> bool:
    return any(local(each) == "decorative" and attribute(each, "val") in ("1", "true") for each in element.iter())


def plain_text(element: Element) -> str:
    """Return the DrawingML text in an element, one line per paragraph."""
    paragraphs = (each for each in element.iter() if local(each) == "p")
    lines = ("".join(each.text or "" for each in paragraph.iter() if local(each) == "t") for paragraph in paragraphs)
    return "\n".join(filter(None, map(str.strip, lines)))


def diagram_lines(data: Element) -> list[str]:
    """Return the labels of a SmartArt diagram in order, one per line."""
    texts = (one_line(plain_text(each)) for each in data.iter() if local(each) == "pt")
    return [f"- {text}" for text in texts if text]


def chart_lines(chart: Element) -> list[str]:
    """Return a chart as lines: its title, the titles of its axes, then a line with the values for each category."""
    title = next((each for each in _path(chart, "chart", "title")), None)
    lines = [f"Chart: {words}" if title is not None and (words := _rich(title)) else "Chart"]
    axes = [each for each in chart.iter() if local(each) in _AXES]
    titles = ["".join(map(_rich, _children(axis, "title"))) for axis in axes]
    lines += [f"Axis: {words}" for words in titles if words]
    from_1904 = any(attribute(each, "val") in ("1", "true") for each in _children(chart, "date1904"))
    series = [_Series(each, from_1904=from_1904) for each in chart.iter() if local(each) == "ser"]
    names = [each.name for each in series]
    if any(names):
        lines.append("Series: " + ", ".join(filter(None, names)))
    categories = list(dict.fromkeys(index for each in series for index in each.values))[:_MOST_POINTS]
    for index in categories:
        category = next((each.categories[index] for each in series if index in each.categories), "")
        values = [each.value(index) for each in series if index in each.values]
        lines.append(f"{category}: {' | '.join(values)}" if category else " | ".join(values))
    labels = (_rich(tx) for each in chart.iter() if local(each) == "dLbl" for tx in _children(each, "tx"))
    lines += [f"Label: {words}" for words in dict.fromkeys(labels) if words]
    lines += _extended_lines(chart)
    return lines if len(lines) > 1 or lines != ["Chart"] else []


def _extended_lines(chart: Element) -> Iterator[str]:
    """Yield the values of a chart of a newer kind, such as a waterfall or a tree map, with their categories."""
    names = [" ".join(one_line(v.text or "") for v in each.iter() if local(v) == "v") for each in _named_series(chart)]
    if any(names):
        yield "Series: " + ", ".join(filter(None, names))
    for data in (each for each in chart.iter() if local(each) == "data"):
        labels: dict[str, list[str]] = {}
        values: dict[str, list[str]] = {}
        for dimension in data:
            _add_points(dimension, values if local(dimension) == "numDim" else labels)
        for index in list(dict.fromkeys((*labels, *values)))[:_MOST_POINTS]:
            words = " ".join(labels.get(index, ()))
            numbers = " | ".join(values.get(index, ()))
            yield ": ".join(filter(None, (words, numbers)))


def _named_series(chart: Element) -> Iterator[Element]:
    return (tx for each in chart.iter() if local(each) == "series" for tx in _children(each, "tx"))


def _add_points(dimension: Element, found: dict[str, list[str]]) -> None:
    """Add the points of a dimension by index; the outermost of several levels comes last in the file."""
    for level in _children(dimension, "lvl"):
        form = level.get("formatCode") or ""
        for point in _children(level, "pt"):
            words = one_line(point.text or "")
            if words and len(found) < _MOST_POINTS:
                shown = _displayed(words, form, from_1904=False) if form else words
                found.setdefault(point.get("idx", ""), []).insert(0, shown)


class _Series:
    def __init__(self, element: Element, *, from_1904: bool) -> None:
        self.name = " ".join(value for each in _children(element, "tx") for value in _points(each).values())
        self.categories = _of(element, "cat", "xVal", from_1904=from_1904)
        self.values = _of(element, "val", "yVal", from_1904=from_1904)
        self.sizes = _of(element, "bubbleSize", from_1904=from_1904)

    def value(self, index: int) -> str:
        size = f" (size {self.sizes[index]})" if index in self.sizes else ""
        return f"{self.name}: {self.values[index]}{size}" if self.name else f"{self.values[index]}{size}"


def _of(series: Element, *names: str, from_1904: bool) -> dict[int, str]:
    return {
        key: value
        for each in series
        if local(each) in names
        for key, value in _points(each, from_1904=from_1904).items()
    }


def _displayed(text: str, form: str, *, from_1904: bool) -> str:
    """Return the number of a point as a spreadsheet displays it."""
    try:
        return displayed(float(text), form, from_1904=from_1904)
    except ValueError:
        return text


def _points(element: Element, *, from_1904: bool = False) -> dict[int, str]:
    """Return the cached points by index; points of several levels are joined."""
    found: dict[int, list[str]] = {}
    form = ""
    for each in element.iter():
        match local(each):
            case "formatCode":
                form = each.text or ""
            case "numLit" | "strCache" | "numCache":
                form = ""
            case "pt":
                words = one_line("".join(value.text or "" for value in each if local(value) == "v"))
                if own := each.get("formatCode") or form:
                    words = _displayed(words, own, from_1904=from_1904)
                index = each.get("idx", "0")
                if index.isdigit() and words and len(found) < _MOST_POINTS:
                    found.setdefault(int(index), []).insert(0, words)
            case "v" if element is not None and local(element) == "tx" and not found and each.text:
                found[0] = [one_line(each.text)]
    return {index: " ".join(words) for index, words in found.items()}


def _rich(title: Element) -> str:
    words = one_line(plain_text(title))
    return words or " ".join(_points(title).values())


def _children(element: Element, name: str) -> Iterator[Element]:
    return (child for child in element if local(child) == name)


def _path(element: Element, *names: str) -> Iterator[Element]:
    if not names:
        yield element
        return
    for child in _children(element, names[0]):
        yield from _path(child, *names[1:])
