"""The registry: every format declares all that others ask of it."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest
from memgpt.loader.v1.loader_service_pb2 import ListFormatsRequest
from memgpt_loader.formats import FORMATS, Format, format_of
from memgpt_loader.rpc.servicer import LoaderServicer

by_name = pytest.mark.parametrize("each", FORMATS, ids=lambda each: each.name)


@by_name
def test_a_format_says_what_it_is_and_what_is_read(each: Format) -> None:
    assert each.media_types
    assert each.extensions or each.signature is not None, "nothing tells its files"
    assert all(extension == extension.lower() and extension.startswith(".") for extension in each.extensions)
    assert all(format_of(media_type) is each for media_type in each.media_types)
    for words in (each.name, each.reads, each.omits):
        assert words == words.strip()
        assert not words.endswith(".")
    assert each.reads
    assert each.signature is not None or not each.first_bytes


def test_no_two_formats_claim_an_extension_or_a_media_type() -> None:
    claimed = Counter(extension for each in FORMATS for extension in each.extensions)
    claimed.update(media_type for each in FORMATS for media_type in each.media_types)
    assert {name for name, count in claimed.items() if count > 1} == set()


async def test_formats_are_listed_for_clients() -> None:
    listed = await LoaderServicer(cast("Any", None), ocr=True).ListFormats(ListFormatsRequest(), cast("Any", None))
    assert {each.name for each in listed.formats} == {each.name for each in FORMATS}
    assert [each.name.casefold() for each in listed.formats] == sorted(each.name.casefold() for each in FORMATS)
    (pdf,) = (each for each in listed.formats if ".pdf" in each.extensions)
    assert (list(pdf.media_types), pdf.pages) == (["application/pdf"], "pages")
    assert pdf.reads
    assert pdf.omits
    fewer = await LoaderServicer(cast("Any", None)).ListFormats(ListFormatsRequest(), cast("Any", None))
    assert {each.name for each in listed.formats} - {each.name for each in fewer.formats} == {"picture"}
