"""Text files: from bytes to text, or the reason why they are none."""

from __future__ import annotations

import codecs
import re

from memgpt_loader.failures import FailureReason, FileFailure

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# C0 controls that no text file has any use for; tab, line feed, form feed, carriage return and escape may stay.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_MOST_CONTROLS = 0.01
"""Above this fraction of control characters the content is taken for binary."""


def decode(data: bytes) -> str:
    r"""Decodes a text file.

    UTF-8, or UTF-16 or UTF-32 with a byte order mark; nothing is guessed, since a wrong guess loads garbage.
    Line ends become `\n`, other control characters vanish; offsets of passages refer to the text returned here.

    Args:
        data: The whole file.

    Returns:
        Its text, without lone surrogates and NULs.

    Raises:
        FileFailure: EMPTY or UNSUPPORTED.
    """
    encoding, skip = next(((name, len(mark)) for mark, name in _MARKS if data.startswith(mark)), ("utf-8", 0))
    try:
        text = data[skip:].decode(encoding)
    except UnicodeDecodeError as error:
        message = f"The file is no {encoding.upper()} text from byte {skip + error.start} on. Save it as UTF-8."
        raise FileFailure(FailureReason.UNSUPPORTED, message) from None
    if "\x00" in text or len(_CONTROLS.findall(text)) > _MOST_CONTROLS * len(text):
        raise FileFailure(
            FailureReason.UNSUPPORTED,
            "The file is no text: it holds binary data. Convert it to PDF or UTF-8 text.",
        )
    text = _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    if not text.strip():
        raise FileFailure(FailureReason.EMPTY, "The file holds nothing but white space. Check that it was saved.")
    return text
