"""PDF files: a page is a document."""

from __future__ import annotations

from memgpt_loader.formats.inspected_file import InspectedFile
from memgpt_loader.formats.spec import File, FileLimits, Format, Parsed

PDF = "application/pdf"

# A PDF may have junk ahead of its header; readers look for it in the first KiB (ISO 32000-1, appendix H.3).
_HEADER_WITHIN = 1024


def _signature(inspected: InspectedFile) -> str:
    header = inspected.head[:_HEADER_WITHIN].find(b"%PDF-")
    # Other files may contain the header as text.
    return PDF if header == 0 or (header > 0 and inspected.named == PDF) else ""


def _parse(file: File, limits: FileLimits) -> Parsed:
    from memgpt_loader.formats.pdf import reader

    return reader.parse(file, limits)


FORMAT = Format(
    name="PDF",
    media_types={PDF: (".pdf",)},
    parse=_parse,
    reads="text in reading order without running headers and page numbers, addresses of links, form fields, text "
    "annotations, attached files; scanned pages and pages whose fonts cannot be decoded, if `loader.ocr_languages` is "
    "set",
    omits="scanned pages and pages whose fonts cannot be decoded, unless their text is recognized; pictures on other "
    "pages; hidden layers; forms that Adobe Reader alone shows; attached files of unsupported formats",
    pages="pages",
    signature=_signature,
    first_bytes=b"%PDF-",
)
