"""Objects that are kept by id."""

from __future__ import annotations

import gc

from memgpt_memory.object_cache import ObjectCache


class Thing:
    idle = True


def ids_of(cache: ObjectCache[Thing]) -> list[int]:
    gc.collect()
    return [number for number in range(20) if str(number) in cache]


def a_full_cache() -> ObjectCache[Thing]:
    cache = ObjectCache[Thing](4, lambda thing: thing.idle)
    for number in range(4):
        cache.put(str(number), Thing())
    return cache


def test_those_not_used_for_longest_are_dropped() -> None:
    cache = a_full_cache()
    assert cache.get("0") is not None
    assert cache.peek("1") is not None
    cache.put("4", Thing())
    assert ids_of(cache) == [0, 2, 3, 4]
    assert len(cache) == 4


def test_what_is_held_or_not_idle_stays() -> None:
    cache = a_full_cache()
    held, busy = cache.peek("0"), cache.peek("1")
    assert busy is not None
    busy.idle = False
    del busy
    for number in range(4, 20):
        cache.put(str(number), Thing())
        cache.remove(str(number - 1)) if number % 5 == 0 else None
    assert {0, 1, 19} <= set(ids_of(cache))
    assert cache.get("0") is held
    assert len(cache) <= 6
    cache.remove("0")
    assert cache.get("0") is None
