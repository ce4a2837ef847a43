"""Arguments of function calls that have another name in Letta."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

LETTA_NAMES = {"core_memory_append": ("name", "label"), "core_memory_replace": ("name", "label")}
"""For each function, the name of an argument here and there. A model copies the calls in its window."""


def renamed(arguments: str, before: str, after: str, convert: Callable[[Any], Any] | None = None) -> str:
    """Return arguments with one of them renamed. The rest stays as the model wrote it, with its order and white space.

    Args:
        arguments: JSON text that may be invalid; it is then returned as it is.
        before: Name of the argument; without it, nothing changes.
        after: Its new name; if an argument has it already, nothing changes.
        convert: Returns the argument's new value.
    """
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    if not isinstance(value, dict) or before not in value or after in value:
        return arguments
    wanted = {after if name == before else name: item for name, item in value.items()}
    if convert is not None:
        wanted[after] = convert(wanted[after])
    rewritten = re.sub(rf'"{re.escape(before)}"(\s*:)', rf'"{after}"\1', arguments, count=1)
    return rewritten if json.loads(rewritten) == wanted else json.dumps(wanted, ensure_ascii=False)
