"""Excel workbooks: a sheet is a page."""

from __future__ import annotations

from memgpt_loader.formats.probe import ZIP
from memgpt_loader.formats.spec import File, Format, Limits, Parsed

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def _parse(file: File, limits: Limits) -> Parsed:
    from memgpt_loader.formats import workbook

    return workbook.parse(file, limits)


FORMAT = Format(
    name="workbook",
    media_types={XLSX: (".xlsx", ".xlsm")},
    parse=_parse,
    reads="rows of the sheets, each with the names of its columns",
    omits="",
    pages="sheets",
    signature=lambda probe: XLSX if probe.is_office("xl/") else "",
    first_bytes=ZIP,
)
