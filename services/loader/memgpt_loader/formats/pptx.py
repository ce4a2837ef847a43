"""PowerPoint presentations: a slide is a page, with its title, text, tables and the speaker's notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.packages import Package, Relationship, attribute, local, open_package, relationship_id
from memgpt_loader.formats.probe import ZIP
from memgpt_loader.formats.spec import File, Format, Limits, PageText, Parsed, too_many_pages
from memgpt_loader.markup import Blocks, link

PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"

_WHAT = "the presentation"
_TITLES = ("title", "ctrTitle")
_ON_EVERY_SLIDE = ("sldNum", "dt", "ftr", "hdr", "sldImg")
_NOT_SHOWN = frozenset({"Fallback", "nvSpPr", "spPr", "style", "timing", "transition", "extLst"})


def parse(file: File, limits: Limits) -> Parsed:
    """Opens a presentation."""
    with open_package(file, _WHAT, limits) as package:
        slides = _slides(package)
    if not slides:
        raise FileFailure(FailureReason.EMPTY, "The presentation has no slides. Check that it was saved completely.")
    if len(slides) > limits.max_pages:
        raise too_many_pages(len(slides), "slides", limits)
    return Parsed(len(slides), _pages(file, slides, limits))


def _slides(package: Package) -> list[str]:
    """Names of the slides' parts, as they are shown."""
    main = package.main_part()
    parts = package.relationships(main)
    order = [relationship_id(each) for each in package.root(main).iter() if local(each) == "sldId"]
    return [parts[id_].target for id_ in order if id_ in parts and parts[id_].target in package.names]


def _pages(file: File, slides: list[str], limits: Limits) -> Iterator[PageText]:
    any_text = False
    with open_package(file, _WHAT, limits) as package:
        for number, part in enumerate(slides, start=1):
            text = _slide(package, part)
            any_text = any_text or bool(text)
            yield PageText(number, text)
    if not any_text:
        raise FileFailure(
            FailureReason.NO_TEXT,
            f"None of the {len(slides):,} slide(s) holds text: they are probably pictures. "
            "Export it to PDF, run OCR on that, and load the result.",
        )


def _slide(package: Package, part: str) -> str:
    parts = package.relationships(part)
    blocks = Blocks()
    _Shapes(blocks, parts).add(package.root(part))
    for each in parts.values():
        if each.kind == "notesSlide" and each.target in package.names:
            notes = Blocks()
            _Shapes(notes, package.relationships(each.target)).add(package.root(each.target))
            if notes.text():
                blocks.paragraph(f"Notes: {notes.text()}")
    return blocks.text()


class _Shapes:
    def __init__(self, blocks: Blocks, parts: Mapping[str, Relationship]) -> None:
        self._blocks = blocks
        self._parts = parts

    def add(self, element: Element) -> None:
        """Adds the text of all shapes in an element, in its order."""
        for child in element:
            match local(child):
                case "sp":
                    self._shape(child)
                case "tbl":
                    self._blocks.gap()
                    for row in (one for one in child if local(one) == "tr"):
                        self._blocks.row([self._plain(cell) for cell in row if local(cell) == "tc"])
                    self._blocks.gap()
                case name if name not in _NOT_SHOWN:
                    self.add(child)

    def _shape(self, shape: Element) -> None:
        kind = next((attribute(each, "type") or "body" for each in shape.iter() if local(each) == "ph"), "")
        if kind in _ON_EVERY_SLIDE:
            return
        paragraphs = [each for each in shape.iter() if local(each) == "p"]
        if kind in _TITLES:
            self._blocks.heading(1, " ".join(map(self._paragraph, paragraphs)))
            return
        self._blocks.gap()
        for each in paragraphs:
            text = self._paragraph(each)
            if kind in ("body", "obj") and len(paragraphs) > 1:
                self._blocks.item(_depth(each), text)
            else:
                self._blocks.paragraph(text)
        self._blocks.gap()

    def _plain(self, element: Element) -> str:
        return " ".join(self._paragraph(each) for each in element.iter() if local(each) == "p")

    def _paragraph(self, paragraph: Element) -> str:
        pieces = []
        for run in paragraph:
            match local(run):
                case "r" | "fld":
                    words = "".join(each.text or "" for each in run if local(each) == "t")
                    click = next((each for each in run.iter() if local(each) == "hlinkClick"), None)
                    target = None if click is None else self._parts.get(relationship_id(click))
                    pieces.append(link(words, target.target) if target else words)
                case "br":
                    pieces.append("\n")
                case "m":  # a formula
                    pieces += [each.text or "" for each in run.iter() if local(each) == "t"]
        return "".join(pieces)


def _depth(paragraph: Element) -> int:
    level = next((attribute(each, "lvl") for each in paragraph if local(each) == "pPr"), "")
    return int(level) if level.isascii() and level.isdigit() else 0


FORMAT = Format(
    name="presentation",
    media_types={PPTX: (".pptx", ".pptm", ".ppsx")},
    parse=parse,
    reads="titles, text and tables of the slides, and the speaker's notes",
    omits="",
    pages="slides",
    signature=lambda probe: PPTX if probe.is_office("ppt/") else "",
    first_bytes=ZIP,
)
