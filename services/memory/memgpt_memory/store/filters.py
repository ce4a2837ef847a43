"""Conditions on rows, as a small expression tree.

Domain code builds a tree; an adapter renders it in its backend's language and escapes every value, or evaluates it
itself. `Equals`, `OneOf`, `Between`, `Not`, `AllOf` and `AnyOf` are understood by every backend. `Bounded`, `Outside`
and `Contains` are not: they stand in the exact half of a `Refined` condition, whose broad half every backend knows.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Final, TypeAlias, cast

Value: TypeAlias = str | int


@dataclass(frozen=True, slots=True)
class Equals:
    """The column has this value."""

    column: str
    value: Value


@dataclass(frozen=True, slots=True)
class OneOf:
    """The column has one of these values; if there are none, no row matches."""

    column: str
    values: Sequence[Value]


@dataclass(frozen=True, slots=True)
class Between:
    """The column is at least `start` and less than `end`; None means no bound."""

    column: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every condition holds; if there are none, every row matches."""

    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one condition holds."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The column has another value."""

    condition: Equals


@dataclass(frozen=True, slots=True)
class Bounded:
    """The value of the column is less than ``ends[row[by]]``; a row whose ``by`` is not in ``ends`` does not match."""

    column: str
    by: str
    ends: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Outside:
    """The column is in none of the ranges, which are ``[start, end)``, disjoint and sorted."""

    column: str
    ranges: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Contains:
    """The column is a JSON object whose list `key` holds all of `values`."""

    column: str
    key: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Refined:
    """Both conditions hold.

    Attributes:
        broad: The condition that a backend searches by: every backend understands it, and it is cheap.
        exact: What the adapter checks on the rows that the backend returns, unless it can evaluate it itself.
    """

    broad: Condition
    exact: Condition


Condition: TypeAlias = Equals | OneOf | Between | AllOf | AnyOf | Not | Bounded | Outside | Contains | Refined

EVERY_ROW: Final = AllOf()
"""The condition that always holds."""


def all_of(*conditions: Condition) -> Condition:
    """Return the condition that all of these hold."""
    kept = tuple(one for one in conditions if one != EVERY_ROW)
    return kept[0] if len(kept) == 1 else AllOf(kept)


def any_of(*conditions: Condition) -> Condition:
    """Return the condition that at least one of these holds."""
    return conditions[0] if len(conditions) == 1 else AnyOf(conditions)


def broad(condition: Condition) -> Condition:
    """Return a broader condition that every backend understands: it holds for all rows for which `condition` holds."""
    match condition:
        case Refined():
            return broad(condition.broad)
        case AllOf():
            return all_of(*map(broad, condition.conditions))
        case AnyOf():
            return any_of(*map(broad, condition.conditions))
        case Bounded() | Outside() | Contains():
            return EVERY_ROW
        case _:
            return condition


def exact(condition: Condition) -> Condition:
    """Return what is left to check on rows for which `broad` of the condition holds; `EVERY_ROW` if nothing is."""
    match condition:
        case Refined():
            return condition.exact
        case AllOf():
            return all_of(*map(exact, condition.conditions))
        case AnyOf() if any(exact(one) != EVERY_ROW for one in condition.conditions):
            return condition
        case Bounded() | Outside() | Contains():
            return condition
        case _:
            return EVERY_ROW


def columns_of(condition: Condition) -> set[str]:
    """Return the names of the columns that a condition looks at."""
    match condition:
        case AllOf() | AnyOf():
            return set().union(*map(columns_of, condition.conditions))
        case Refined():
            return columns_of(condition.broad) | columns_of(condition.exact)
        case Not():
            return {condition.condition.column}
        case Bounded():
            return {condition.column, condition.by}
        case _:
            return {condition.column}


Predicate: TypeAlias = Callable[[object], bool]


def for_rows(condition: Condition) -> Predicate:
    """Compile a condition into a function of a row object."""
    return _compile(condition, attrgetter)


def for_mappings(condition: Condition) -> Predicate:
    """Compile a condition into a function of a mapping of columns."""
    return _compile(condition, cast("_Getter", itemgetter))


_Getter: TypeAlias = Callable[[str], Callable[[object], object]]


def _compile(condition: Condition, getter: _Getter) -> Predicate:
    match condition:
        case AllOf():
            return _conjunction([_compile(one, getter) for one in condition.conditions])
        case AnyOf():
            return _disjunction([_compile(one, getter) for one in condition.conditions])
        case Refined():
            return _conjunction([_compile(condition.broad, getter), _compile(condition.exact, getter)])
        case Bounded():
            return _bounded(getter(condition.column), getter(condition.by), condition.ends)
        case Equals():
            return _member(getter(condition.column), (condition.value,))
        case Not():
            return _other(getter(condition.condition.column), condition.condition.value)
        case OneOf():
            return _member(getter(condition.column), frozenset(condition.values))
        case Between():
            return _between(getter(condition.column), condition.start, condition.end)
        case Outside():
            return _outside(getter(condition.column), condition.ranges)
        case Contains():
            return _contains(getter(condition.column), condition.key, condition.values)


def _conjunction(predicates: Sequence[Predicate]) -> Predicate:
    return lambda row: all(holds(row) for holds in predicates)


def _disjunction(predicates: Sequence[Predicate]) -> Predicate:
    return lambda row: any(holds(row) for holds in predicates)


def _member(value: Callable[[object], object], values: Collection[Value]) -> Predicate:
    return lambda row: value(row) in values


def _other(value: Callable[[object], object], refused: Value) -> Predicate:
    return lambda row: value(row) != refused


def _between(value: Callable[[object], object], start: int | None, end: int | None) -> Predicate:
    def holds(row: object) -> bool:
        number = _number(value(row))
        return (start is None or number >= start) and (end is None or number < end)

    return holds


def _bounded(value: Callable[[object], object], by: Callable[[object], object], ends: Mapping[str, int]) -> Predicate:
    def holds(row: object) -> bool:
        end = ends.get(str(by(row)))
        return end is not None and _number(value(row)) < end

    return holds


def _outside(value: Callable[[object], object], ranges: Iterable[tuple[int, int]]) -> Predicate:
    starts, ends = [start for start, _ in ranges], [end for _, end in ranges]

    def holds(row: object) -> bool:
        number = _number(value(row))
        place = bisect_right(starts, number) - 1
        return place < 0 or number >= ends[place]

    return holds


def _contains(value: Callable[[object], object], key: str, values: frozenset[str]) -> Predicate:
    def holds(row: object) -> bool:
        return values <= set(json.loads(str(value(row)) or "{}").get(key, ()))

    return holds


def _number(value: object) -> int:
    return value if isinstance(value, int) else int(str(value))
