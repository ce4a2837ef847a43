"""Typed access to the values of untrusted JSON: a value of another type is refused with its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from memgpt.cli.errors import CliError

WITHHELD = "[withheld]"
"""Stands for a secret in a report."""

_MAX_NUMBER = 1 << 53
_SECRET = re.compile(
    r"secret|token$|^token|password|passwd|api_?key|authorization|credential|headers$|private_?key|environment|^env$|^args$",
    re.IGNORECASE,
)
_IN_URL = re.compile(
    r"(?<=://)[^/\s@]+(?=@)|(?<=[?&])([^=&#?\s]{1,64}=)[^&#\s]+"
    r"|(?<=/)(?=[A-Za-z=_+-]{0,256}[0-9])[0-9A-Za-z=_+-]{24,256}(?=[/?#\s]|$)"
)
_IN_QUERY = re.compile(r"key|token|secret|passw|sig", re.IGNORECASE)
"""Parts of a URL that can be credentials: before the host, in its query by their names, and long ones in its path."""


class Fields:
    """An object of a JSON file.

    Attributes:
        where: Its place in the file, for errors and reports.
        value: The object itself.
    """

    def __init__(self, value: Any, where: str) -> None:
        """Wrap an object.

        Raises:
            CliError: The value is not an object.
        """
        if not isinstance(value, dict):
            raise _wrong(where, "an object", value)
        self.value: Mapping[str, Any] = value
        self.where = where

    def __contains__(self, name: str) -> bool:
        return self.value.get(name) is not None

    def text(self, name: str) -> str:
        """Return a text; empty if it is missing or null."""
        value = self.value.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise _wrong(f"{self.where}: {name}", "text", value)
        return value

    def number(self, name: str) -> int:
        """Return a whole number from 0; 0 if it is missing, null or negative."""
        value = self.value.get(name)
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _wrong(f"{self.where}: {name}", "a number", value)
        return int(min(value, _MAX_NUMBER)) if value > 0 else 0

    def flag(self, name: str) -> bool:
        """Return a boolean; false if it is missing or null."""
        value = self.value.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise _wrong(f"{self.where}: {name}", "true or false", value)

    def items(self, name: str) -> list[Any]:
        """Return a list; empty if it is missing or null."""
        value = self.value.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise _wrong(f"{self.where}: {name}", "a list", value)
        return value

    def texts(self, name: str) -> list[str]:
        """Return a list of texts."""
        values = self.items(name)
        for value in values:
            if not isinstance(value, str):
                raise _wrong(f"{self.where}: {name}", "a list of texts", value)
        return values

    def objects(self, name: str) -> Iterator[Fields]:
        """Yield the objects of a list."""
        for number, value in enumerate(self.items(name)):
            yield Fields(value, f"{self.where}: {name}[{number}]" if self.where else f"{name}[{number}]")

    def object(self, name: str) -> Fields:
        """Return an object; empty if it is missing or null."""
        value = self.value.get(name)
        return Fields({} if value is None else value, f"{self.where}: {name}")

    def rest(self, known: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """Yield the fields that are not known and not empty, without secrets."""
        skipped = set(known)
        for name, value in self.value.items():
            if name not in skipped and value not in (None, "", [], {}, False):
                yield name, without_secrets(value) if not _SECRET.search(name) else names_only(value)


def is_secret(name: str) -> bool:
    """Return whether a field of this name may be a secret."""
    return _SECRET.search(name) is not None


def without_secrets(value: Any) -> Any:
    """Return a value in which every field that may be a secret is withheld; `value` is of bounded depth."""
    if isinstance(value, dict):
        return {
            name: WITHHELD if _SECRET.search(name) and item not in (None, "", [], {}) else without_secrets(item)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    if isinstance(value, str) and "://" in value:
        return _IN_URL.sub(_withheld, value)
    return value


def _withheld(found: re.Match[str]) -> str:
    name = found[1]
    if name is None:
        return WITHHELD
    return f"{name}{WITHHELD}" if _IN_QUERY.search(name) else found[0]


def names_only(value: Any) -> Any:
    """Return the names of secrets: the keys of an object, or the ``key`` or ``name`` of each in a list."""
    if isinstance(value, dict):
        return sorted(value)
    if isinstance(value, list):
        return [
            next((item[key] for key in ("key", "name") if isinstance(item.get(key), str)), WITHHELD)
            if isinstance(item, dict)
            else WITHHELD
            for item in value
        ]
    return WITHHELD


def _wrong(where: str, wanted: str, value: Any) -> CliError:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return CliError(f"{where or 'the file'}: expected {wanted}, found {kinds.get(type(value), 'a number')}")
