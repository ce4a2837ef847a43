"""Metadata of notes as tags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from memgpt.cli.imports import names
from memgpt.cli.imports.fields import WITHHELD, is_secret, without_secrets
from memgpt.cli.imports.report import Report


def tags_of(metadata: Any, where: str, report: Report) -> Iterator[str]:
    """Yield a tag ``key=value`` for each field of a note's metadata.

    What is too long for a tag, or may be a secret, is recorded in the report; secrets without their value.

    Args:
        metadata: The metadata; anything but an object has no fields.
        where: The note's place.
        report: Where fields without a tag are recorded.
    """
    for key, value in metadata.items() if isinstance(metadata, dict) else ():
        tag = f"{key}={value}"
        if value in (None, "", [], {}):
            continue
        if is_secret(key):
            report.left_out(where, "metadata that may be a secret", {key: WITHHELD})
        elif isinstance(value, (str, int, float)) and len(tag) <= names.MAX_TAG:
            yield tag
        else:
            report.left_out(where, "metadata that is too long for a tag", {key: without_secrets(value)})
