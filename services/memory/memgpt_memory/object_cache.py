"""A cache of objects that are changed in place."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

_T = TypeVar("_T")


class ObjectCache(Generic[_T]):
    """Objects by id: those used recently, and all that anything else holds.

    There is never more than one of an id, since two would overwrite each other.
    """

    # Not a cache of cachetools, since an object that is not idle must stay, however long ago it was used.

    def __init__(self, most: int, is_idle: Callable[[_T], bool]) -> None:
        """Keep about `most` objects; one that is not idle stays."""
        self._most = most
        self._is_idle = is_idle
        self._recent: OrderedDict[str, _T] = OrderedDict()
        self._all: WeakValueDictionary[str, _T] = WeakValueDictionary()

    def __contains__(self, id_: str) -> bool:
        return id_ in self._all

    def __len__(self) -> int:
        return len(self._recent)

    def get(self, id_: str) -> _T | None:
        """Return an object, which counts as used; None if there is none."""
        found = self._all.get(id_)
        if found is not None:
            self._recent[id_] = found
            self._recent.move_to_end(id_)
        return found

    def peek(self, id_: str) -> _T | None:
        """Return an object, which does not count as used."""
        return self._all.get(id_)

    def put(self, id_: str, added: _T) -> None:
        """Add an object; where there are too many, drop some of those that were not used for longest."""
        self._all[id_] = self._recent[id_] = added
        if len(self._recent) > self._most:
            for old, one in list(islice(self._recent.items(), max(self._most // 8, 1))):
                if self._is_idle(one) and one is not added:
                    del self._recent[old]
                else:
                    self._recent.move_to_end(old)

    def remove(self, id_: str) -> None:
        """Drop an object that is gone from the store."""
        self._recent.pop(id_, None)
        self._all.pop(id_, None)
