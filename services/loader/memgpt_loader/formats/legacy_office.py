"""Legacy Word and PowerPoint files, which LibreOffice converts before they are parsed (`parsing.libreoffice`)."""

from __future__ import annotations

from typing import BinaryIO

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.inspected_file import OLE, InspectedFile
from memgpt_loader.formats.spec import PLAIN, File, FileLimits, Format, Parsed

DOC, PPT = "application/msword", "application/vnd.ms-powerpoint"

_STREAMS = {DOC: "WordDocument", PPT: "PowerPoint Document"}
_CONVERTED = {DOC: ".docx", PPT: ".pptx"}


def converted_extension(name: str, source: BinaryIO) -> str:
    """Return the extension of the format that a file must be converted to; empty if it can be parsed as it is."""
    from memgpt_loader.formats import sniffing  # a cycle: sniffing imports all formats

    if source.read(len(OLE)) != OLE:
        return ""
    source.seek(0)
    try:
        return _CONVERTED.get(sniffing.media_type_of(name, source), "")
    except FileFailure:
        return ""  # the parser reports it


def _parse(_: File, __: FileLimits) -> Parsed:
    raise FileFailure(
        FailureReason.UNSUPPORTED,
        "the file is a legacy office document (.doc, .ppt), which is read only by itself and where LibreOffice is "
        "installed; install libreoffice-writer-nogui and libreoffice-impress-nogui on the Loader's host, or save the "
        "file as .docx or .pptx",
    )


def _signature(inspected: InspectedFile) -> str:
    # Other compound files contain the directories of documents embedded in them.
    if inspected.named not in ("", PLAIN, *_STREAMS):
        return ""
    kinds = sorted(_STREAMS, key=lambda kind: kind != inspected.named)  # that of its name first, for the same reason
    return next((kind for kind in kinds if inspected.holds_stream(_STREAMS[kind])), "")


FORMAT = Format(
    name="legacy office document",
    media_types={DOC: (".doc", ".dot"), PPT: (".pot", ".pps", ".ppt")},
    parse=_parse,
    reads="what is read of a Word document or presentation, if LibreOffice is installed on the Loader's host; only "
    "files that are loaded by themselves",
    pages="slides",
    signature=_signature,
    first_bytes=OLE,
    also_text=PLAIN,
)
