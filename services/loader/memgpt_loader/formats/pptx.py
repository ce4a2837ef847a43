"""PowerPoint presentations: a slide is a page."""

from __future__ import annotations

from collections.abc import Iterator

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.inspected_file import ZIP, InspectedFile
from memgpt_loader.formats.office.flat import is_flat, packed
from memgpt_loader.formats.office.packages import Package, local, open_package, relationship_id
from memgpt_loader.formats.office.slides import SlideReader
from memgpt_loader.formats.spec import File, FileLimits, Format, PageText, Parsed, too_many_pages
from memgpt_loader.notes import NoteKind, Notes

PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"

_WHAT = "the presentation"


def _parse(file: File, limits: FileLimits) -> Parsed:
    notes = Notes()
    file = packed(file, _WHAT)
    with open_package(file, _WHAT, limits) as package:
        slides = _slides(package, notes)
    if not slides:
        raise FileFailure(FailureReason.EMPTY, "the presentation has no slides; check that it was saved completely")
    if len(slides) > limits.max_pages:
        raise too_many_pages(len(slides), "slides", limits)
    return Parsed(len(slides), _pages(file, slides, limits, notes), notes)


def _slides(package: Package, notes: Notes) -> list[str]:
    """Return the names of the slide parts in presentation order."""
    main = package.main_part()
    parts = package.relationships(main)
    order = [relationship_id(each) for each in package.root(main).iter() if local(each) == "sldId"]
    found = []
    for number, id_ in enumerate(order, start=1):
        if id_ in parts and parts[id_].target in package.names:
            found.append(parts[id_].target)
        else:
            notes.add(NoteKind.MISSING_PART, page=number, unit="slide")
    return found


def _pages(file: File, slides: list[str], limits: FileLimits, notes: Notes) -> Iterator[PageText]:
    any_text = False
    with open_package(file, _WHAT, limits) as package:
        reader = SlideReader(package, notes)
        for number, part in enumerate(slides, start=1):
            text = reader.text(part, number)
            any_text = any_text or bool(text)
            yield PageText(number, text)
    if not any_text:
        raise FileFailure(
            FailureReason.NO_TEXT,
            f"none of the {len(slides):,} slide(s) contains text: they are probably images; "
            "export it to PDF, run OCR on that, and load the result",
        )


def _signature(inspected: InspectedFile) -> str:
    found = inspected.is_office("ppt/") or is_flat(inspected, b"PowerPoint.Show", b"presentationml")
    return PPTX if found else ""


FORMAT = Format(
    name="presentation",
    media_types={PPTX: (".pptx", ".pptm", ".ppsx", ".ppsm", ".potx")},
    parse=_parse,
    reads="titles, text, numbered lists and tables from top to bottom; charts, diagrams, equations, alternative "
    "texts, comments and speaker notes; also of presentations saved as one XML file",
    omits="images without alternative text, audio, video, embedded objects",
    pages="slides",
    signature=_signature,
    first_bytes=ZIP,
)
