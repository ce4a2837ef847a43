"""SVG drawings: their title, description and labels."""

from __future__ import annotations

import re

from memgpt_loader import text
from memgpt_loader.formats.notes import Notes
from memgpt_loader.formats.probe import Probe
from memgpt_loader.formats.spec import MARKDOWN, File, Format, Limits, Parsed, flowing

SVG = "image/svg+xml"

_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*|<!--.{0,2000}?-->\s*|<!DOCTYPE\s+svg[^\[>]*(?:\[[^\]]*\]\s*)?>\s*)*<(?:\w+:)?svg[\s>]",
    re.IGNORECASE | re.DOTALL,
)


def _parse(file: File, limits: Limits) -> Parsed:
    from memgpt_loader.formats.html_text import drawing_labels

    notes = Notes()
    data = file.read()
    labels = drawing_labels(text.decode(data, text.declared_encoding(data), notes))
    return Parsed(1, flowing("\n".join(labels)), notes)


def _signature(probe: Probe) -> str:
    return SVG if probe.named != MARKDOWN and _START.match(probe.head) else ""


FORMAT = Format(
    name="SVG drawing",
    media_types={SVG: (".svg",)},
    parse=_parse,
    reads="title, description and labels",
    signature=_signature,
)
