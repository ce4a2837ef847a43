"""Conditions over a segment: which of its rows meet one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from memgpt_memory.store.filters import (
    AllOf,
    AnyOf,
    Between,
    Bounded,
    Condition,
    Contains,
    Equals,
    Not,
    OneOf,
    Outside,
    Refined,
    Value,
)
from memgpt_memory.store.lite.index.bm25 import Flags
from memgpt_memory.store.lite.index.segment import Segment, as_keys


def mask(condition: Condition, segment: Segment) -> Flags:
    """Return which rows meet a condition. A condition that a segment cannot evaluate (`Contains`) counts as met."""
    match condition:
        case Equals():
            return _one_of(segment, condition.column, [condition.value])
        case OneOf():
            return _one_of(segment, condition.column, condition.values)
        case Not():
            return ~mask(condition.condition, segment)
        case Between():
            return _between(segment, condition)
        case AllOf():
            return _every((mask(one, segment) for one in condition.conditions), segment)
        case AnyOf():
            found = np.zeros(len(segment), np.bool_)
            for one in condition.conditions:
                found |= mask(one, segment)
            return found
        case Refined():
            return mask(condition.broad, segment) & mask(condition.exact, segment)
        case Bounded():
            texts = segment.texts[condition.by]
            ends = [condition.ends.get(text.decode(), -1) for text in texts.distinct.tolist()]
            below = segment.numbers[condition.column] < np.array(ends, np.int64)[texts.codes]
            return np.asarray(below, np.bool_)
        case Outside():
            return _outside(segment, condition)
        case Contains():
            return np.ones(len(segment), np.bool_)


def _every(masks: Iterable[Flags], segment: Segment) -> Flags:
    found = np.ones(len(segment), np.bool_)
    for one in masks:
        found &= one
    return found


def _one_of(segment: Segment, column: str, values: Iterable[Value]) -> Flags:
    if column in segment.numbers:
        return np.isin(segment.numbers[column], np.array([int(value) for value in values], np.int64))
    wanted = as_keys([str(value) for value in values])
    if column not in segment.texts:
        return np.isin(segment.keys, wanted)
    texts = segment.texts[column]
    return np.isin(texts.distinct, wanted)[texts.codes]


def _between(segment: Segment, condition: Between) -> Flags:
    column = segment.numbers[condition.column]
    found = np.ones(len(segment), np.bool_)
    if condition.start is not None:
        found &= column >= condition.start
    if condition.end is not None:
        found &= column < condition.end
    return found


def _outside(segment: Segment, condition: Outside) -> Flags:
    if not condition.ranges:
        return np.ones(len(segment), np.bool_)
    starts, ends = (np.array(bounds, np.int64) for bounds in zip(*condition.ranges, strict=True))
    column = segment.numbers[condition.column]
    places = np.searchsorted(starts, column, side="right") - 1
    return np.asarray((places < 0) | (column >= ends[places]), np.bool_)
