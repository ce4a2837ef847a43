"""Recognition of text in pictures (OCR) by Tesseract: the optional extra `ocr`."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

PAGE_SECONDS = 30.0
"""Time limit for a page; one that takes longer stays unread."""
MOST_PAGES = 2_000
"""Maximum pages of a file that are recognized, which bounds its total time."""
MOST_PIXELS = 40_000_000
"""Maximum pixels of a page; A4 at 300 dots per inch has 8.7 million. Larger pictures are reduced."""

_LEAST_CONFIDENCE = 40
"""Mean confidence, of 100, below which words are guesses from a photo or drawing."""
_DATA_FOLDERS = (
    "/usr/share/tesseract-ocr/5/tessdata",
    "/usr/share/tesseract-ocr/4.00/tessdata",
    "/usr/share/tessdata",
    "/usr/local/share/tessdata",
    "/opt/homebrew/share/tessdata",
)


class RecognitionUnavailable(Exception):  # noqa: N818 - a condition, like a gRPC status
    """Text cannot be recognized; the message says what to install."""


def check(languages: str) -> None:
    """Check that text in these languages can be recognized.

    Args:
        languages: Tesseract's names, joined by "+".

    Raises:
        RecognitionUnavailable: The library or the data of a language is missing.
    """
    if find_spec("tesserocr") is None or find_spec("PIL") is None:
        raise RecognitionUnavailable("the extra is not installed; run pip install 'memgpt-milvus-loader[ocr]'")
    names = languages.split("+")
    if _data_folder(names) is None:
        packages = " ".join(f"tesseract-ocr-{name.replace('_', '-')}" for name in names)
        raise RecognitionUnavailable(
            f"the data of Tesseract for {languages} is not installed; on Debian, run apt-get install {packages}, "
            "or set TESSDATA_PREFIX to its folder"
        )


def _data_folder(names: list[str]) -> str | None:
    folders = filter(None, (os.environ.get("TESSDATA_PREFIX", ""), *_DATA_FOLDERS))
    return next(
        (each for each in folders if all((Path(each) / f"{name}.traineddata").is_file() for name in names)), None
    )


class TextRecognizer:
    """Recognizes the text of one file's pictures."""

    def __init__(self, languages: str, progressed: Callable[[], None]) -> None:
        """Recognize text.

        Args:
            languages: Tesseract's names, joined by "+".
            progressed: Called after each picture, since recognition takes much longer than parsing.
        """
        self._languages = languages
        self._progressed = progressed
        self._pages = 0

    @property
    def exhausted(self) -> bool:
        """Whether no more pages of this file are recognized."""
        return self._pages >= MOST_PAGES

    def text(self, picture: Image) -> str:
        """Return the text in a picture; empty if there is none, or it cannot be told in time."""
        self._pages += 1
        self._api.SetImage(picture)
        found = ""
        if self._api.Recognize(int(PAGE_SECONDS * 1000)) and self._api.MeanTextConf() >= _LEAST_CONFIDENCE:
            found = str(self._api.GetUTF8Text()).strip()
        self._api.Clear()
        self._progressed()
        return found

    @cached_property
    def _api(self) -> Any:
        import tesserocr

        folder = _data_folder(self._languages.split("+"))
        return tesserocr.PyTessBaseAPI(path=folder or "", lang=self._languages)
