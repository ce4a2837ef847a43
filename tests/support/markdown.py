"""Code blocks of Markdown pages."""

from __future__ import annotations

import re
from collections.abc import Iterator

_BLOCK = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of each code block."""
    for indent, language, code in _BLOCK.findall(text):
        yield language, "\n".join(line.removeprefix(indent) for line in code.splitlines())
