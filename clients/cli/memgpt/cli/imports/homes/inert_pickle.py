"""Reading of untrusted pickles: every name in them is one inert class, so nothing in them can be called or imported."""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from memgpt.cli.errors import CliError
from memgpt.cli.imports.bounded import read_bytes

_MAX_BYTES = 256 << 20
_MAX_OPCODES = 30_000_000
_MEMO = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_EXTENSIONS = frozenset({"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"})
"""Opcodes that refer to things outside the file."""


class Inert(dict[Any, Any]):
    """Stands for every object in a pickle. It keeps what the pickle says about the object and does nothing.

    Attributes:
        state: What ``__setstate__`` was to get.
        items_added: What was to be appended.
    """

    state: Any = None
    items_added: list[Any]

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        """Ignore the arguments of a constructor."""
        made = super().__new__(cls)
        made.items_added = []
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        """Ignore the arguments of a constructor."""
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        """Keep the state without interpreting it."""
        self.state = state

    def __eq__(self, other: object) -> bool:
        return self is other

    # An Enum can be the key of a pickled dict.
    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def append(self, item: Any) -> None:
        """Keep an item of a pickled list subclass."""
        self.items_added.append(item)

    def extend(self, items: Iterable[Any]) -> None:
        """Keep items of a pickled list subclass."""
        self.items_added.extend(items)

    def add(self, item: Any) -> None:
        """Keep an item of a pickled set subclass."""
        self.items_added.append(item)

    def field(self, name: str) -> Any:
        """Return an attribute from the state, in the layouts of plain objects and of pydantic; None without it."""
        state = self.state
        if isinstance(state, dict) and isinstance(state.get("__dict__"), dict):
            state = state["__dict__"]
        return state.get(name) if isinstance(state, dict) else None


class _Reader(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        """Return the inert class for every name."""
        return self.stand_in

    def __init__(self, data: bytes) -> None:
        super().__init__(BytesIO(data), encoding="utf-8", errors="replace")
        # A class of its own: a pickle can set attributes of the class that it was given.
        self.stand_in = type("Inert", (Inert,), {})


def read_pickle(path: Path) -> Any:
    """Return the content of a pickle; objects in it are `Inert`. It may refer to itself, so do not walk it unbounded.

    Raises:
        CliError: It is too large, damaged, or made to exhaust memory.
        OSError: It cannot be read.
    """
    data = read_bytes(path, _MAX_BYTES)
    try:
        _check(data, path)
        return _Reader(data).load()
    except CliError:
        raise
    except Exception as error:  # anything can be wrong in a pickle, and a pickle can make methods of `Inert` fail
        raise CliError(f"{path} is not a pickle that can be read: {error}") from error


def _check(data: bytes, path: Path) -> None:
    """Refuse opcodes that claim more memory than their own bytes, or refer to things outside the file."""
    number = 0
    for number, (opcode, argument, _) in enumerate(pickletools.genops(data), 1):
        if number > _MAX_OPCODES:
            raise CliError(f"{path} has more than {_MAX_OPCODES:,} instructions")
        # The memo is an array: a high index alone would allocate it.
        if opcode.name in _MEMO and not 0 <= int(argument or 0) <= number:
            raise CliError(f"{path} is not a pickle that can be read: its memo skips to {argument}")
        if opcode.name in _EXTENSIONS:
            raise CliError(f"{path} refers to objects outside the file ({opcode.name})")
