"""The registry of formats, in the order in which their signatures are tried."""

from __future__ import annotations

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import (
    archive,
    calendar,
    contacts,
    delimited,
    docx,
    epub,
    feeds,
    fictionbook,
    html,
    legacy_office,
    mail,
    mbox,
    notebook,
    opendocument,
    outlook,
    pdf,
    picture,
    plain,
    pptx,
    rtf,
    spreadsheet_xml,
    structured,
    subtitles,
    svg,
    tnef,
    xls,
    xlsx,
)
from memgpt_loader.formats.spec import File, FileLimits, Format, Parsed

FORMATS: tuple[Format, ...] = (
    pdf.FORMAT,
    picture.FORMAT,
    docx.FORMAT,
    pptx.FORMAT,
    xlsx.FORMAT,
    epub.FORMAT,
    outlook.FORMAT,
    tnef.FORMAT,
    xls.FORMAT,
    legacy_office.FORMAT,
    opendocument.FORMAT,
    opendocument.FLAT_FORMAT,
    archive.FORMAT,
    rtf.FORMAT,
    fictionbook.FORMAT,
    spreadsheet_xml.FORMAT,
    svg.FORMAT,
    feeds.FORMAT,
    html.FORMAT,
    mbox.FORMAT,
    mail.FORMAT,
    calendar.FORMAT,
    contacts.FORMAT,
    delimited.FORMAT,
    structured.FORMAT,
    notebook.FORMAT,
    subtitles.FORMAT,
    plain.FORMAT,
)

_BY_EXTENSION = {
    extension: media_type
    for each in FORMATS
    if not each.needs_recognition
    for media_type, extensions in each.media_types.items()
    for extension in extensions
}
_BY_MEDIA_TYPE = {media_type: each for each in FORMATS for media_type in each.media_types}


def media_type_named(suffix: str) -> str:
    """Return the media type that an extension stands for; empty if unknown."""
    return _BY_EXTENSION.get(suffix, "")


def format_of(media_type: str) -> Format:
    """Return the format that declares a media type."""
    return _BY_MEDIA_TYPE[media_type]


def parse(file: File, limits: FileLimits) -> Parsed:
    """Open a file with the parser of its format.

    Raises:
        FileFailure: It cannot be read.
    """
    try:
        return format_of(file.media_type).parse(file, limits)
    except ImportError as error:
        raise FileFailure(
            FailureReason.UNSUPPORTED,
            f"the Loader lacks the library that reads files of type {file.media_type}; "
            "on its host, run pip install memgpt-milvus-loader",
            detail=repr(error),
        ) from error
